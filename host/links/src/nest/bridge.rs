//! The subscriptions of a host to the patterns that its components answer, and how much of what arrives it holds.
//!
//! Every host that runs a component subscribes in the queue group that has the component's name, so each message is for
//! one of them; a Nest service with the same `queue` takes its share, until it is stopped.
//!
//! **Bounds.** A request beyond what a component has places for, or beyond [`MAX_HELD_KIB`], is told so at once. An event waits,
//! since nobody would send it again: for its turn, or until it can be stored. Events together hold as much as
//! [`MAX_HELD_KIB`] too; what comes beyond that is lost, and the log says so. When the host stops it takes no more
//! messages, and finishes those that it has.

use super::serve::{Refusal, Served, Service};
use super::{MAX_CONCURRENT_STORES, MAX_HELD_KIB, MAX_PACKET_BYTES};
use crate::remote::memory_budget::MemoryBudget;
use crate::remote::{leave, round_trip};
use async_nats::{Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use souk_manifest::subject::is_reserved;
use souk_nats::Nats;
use souk_runtime::vital;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The subscriptions of an application.
pub struct Bridge {
    hold: Arc<Hold>,
    stop: CancellationToken,
}

/// What a host holds of messages.
struct Hold {
    nats: Nats,
    /// Subscriptions and requests.
    tasks: TaskTracker,
    request_budget: Arc<Semaphore>,
    /// The memory for requests and events as values.
    values: MemoryBudget,
    /// The events that are held, each a task.
    events: TaskTracker,
    event_budget: Arc<Semaphore>,
    /// For the events that are to be stored: that needs no instance, so that requests find theirs meanwhile.
    storing: Arc<Semaphore>,
}

impl Bridge {
    /// Answers messages until `stop`.
    ///
    /// # Errors
    /// When NATS takes no subscription.
    pub async fn start(nats: &Nats, services: &[Service], stop: CancellationToken) -> Result<Self, SubscribeError> {
        let hold = Arc::new(Hold {
            nats: nats.clone(),
            tasks: TaskTracker::new(),
            request_budget: Arc::new(Semaphore::new(MAX_HELD_KIB)),
            values: MemoryBudget::new(),
            events: TaskTracker::new(),
            event_budget: Arc::new(Semaphore::new(MAX_HELD_KIB)),
            storing: Arc::new(Semaphore::new(MAX_CONCURRENT_STORES)),
        });
        for service in services {
            for served in &service.patterns {
                let group = served.component().to_string();
                let messages = nats.client().queue_subscribe(served.subject.clone(), group).await?;
                let subscription =
                    PatternSubscription { served: served.clone(), slots: service.slots.clone(), hold: hold.clone() };
                hold.tasks.spawn(vital("an intake of messages", subscription.run(messages, stop.clone())));
            }
        }
        // Whoever is told that this host serves must find it in the queue groups.
        round_trip(nats.client()).await;
        Ok(Bridge { hold, stop })
    }

    /// Waits until it is stopped, then up to `patience` for what is in hand.
    pub async fn finish(self, patience: Duration) {
        self.stop.cancelled().await;
        let Hold { tasks, events, nats, .. } = &*self.hold;
        tasks.close();
        events.close();
        let finished = async {
            // In this order: subscriptions make events.
            tasks.wait().await;
            events.wait().await;
            nats.client().flush().await
        };
        if matches!(tokio::time::timeout(patience, finished).await, Ok(Ok(()))) {
            return;
        }
        if !tasks.is_empty() {
            tracing::warn!("requests of Nest clients were in hand when the limit `drain` was over; they get no answer");
        }
        if !events.is_empty() {
            tracing::error!(
                "{} events of Nest clients are lost: they were not stored, or not yet made, when the limit `drain` was over",
                events.len()
            );
        }
    }
}

/// The subscription to one pattern.
struct PatternSubscription {
    served: Arc<Served>,
    slots: Arc<Semaphore>,
    hold: Arc<Hold>,
}

impl PatternSubscription {
    async fn run(self, mut messages: Subscriber, stop: CancellationToken) {
        while let Some(Some(message)) = stop.run_until_cancelled(messages.next()).await {
            self.take(message).await;
        }
        leave(&mut messages, &self.hold.nats).await;
        while let Some(message) = messages.next().await {
            self.take(message).await;
        }
    }

    async fn take(&self, Message { payload, reply, .. }: Message) {
        let too_large = || Refusal::new(413, format!("a message has at most {MAX_PACKET_BYTES} bytes"));
        // Nobody can be answered there.
        let Some(reply) = reply.filter(|reply| !is_reserved(reply)) else {
            return match payload.len() > MAX_PACKET_BYTES {
                true => self.served.lost(&too_large()),
                false => self.event(&payload),
            };
        };
        let (served, nats) = (&self.served, &self.hold.nats);
        if payload.len() > MAX_PACKET_BYTES {
            return served.reply(nats, &reply, &payload, Err(too_large())).await;
        }
        let place = self.slots.clone().try_acquire_owned().ok().zip(reserve(&self.hold.request_budget, &payload));
        let Some(place) = place else {
            return served.reply(nats, &reply, &payload, Err(served.overloaded())).await;
        };
        // Before it is answered, or the other's answer is not seen.
        let watch = served.second_answers.watch(nats, &reply).await;
        let (served, nats, payload, values) = (served.clone(), nats.clone(), own(&payload), self.hold.values.clone());
        self.hold.tasks.spawn(async move {
            served.request(&nats, &reply, &payload, &values).await;
            drop(place);
            if let Some(watch) = watch {
                watch.count(served.component(), &served.subject).await;
            }
        });
    }

    fn event(&self, payload: &Bytes) {
        let Some(reservation) = reserve(&self.hold.event_budget, payload) else {
            let held = format!("the events that wait hold {MAX_HELD_KIB} KiB; fix: see in this log why they wait");
            return self.served.lost(&Refusal::new(503, held));
        };
        let turns = if self.served.is_stored() { &self.hold.storing } else { &self.slots };
        let (served, turns, payload) = (self.served.clone(), turns.clone(), own(payload));
        let values = self.hold.values.clone();
        self.hold.events.spawn(async move {
            let turn = turns.acquire_owned().await;
            // Boxed, so that an event is small while it waits for its turn.
            Box::pin(served.event(payload, &values)).await;
            drop((turn, reservation));
        });
    }
}

/// Reserves memory for a message, in whole KiB.
fn reserve(budget: &Arc<Semaphore>, payload: &Bytes) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(payload.len().div_ceil(1024).max(1)).unwrap_or(u32::MAX);
    budget.clone().try_acquire_many_owned(kib).ok()
}

/// A payload without its neighbours: as it comes it is a part of what the client has read at one time, all of which it
/// would keep in memory.
fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}
