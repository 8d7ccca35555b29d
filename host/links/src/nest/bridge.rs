//! The subscriptions of a host to the patterns that its components answer, and the bounds on the messages that it
//! holds.
//!
//! Every host that runs a component subscribes in a queue group with the component's name, so each message goes to one
//! of these hosts. A Nest service with the same `queue` takes its share of messages until it is stopped.
//!
//! **Bounds.** A request is refused at once when the component has no free place, or when requests hold
//! [`MAX_HELD_KIB`] already. An event waits for its turn, or until it can be stored, because nobody would send it
//! again. Events may hold another [`MAX_HELD_KIB`] in total; further events are lost, and the log says so. A host that
//! stops accepts no more messages, and finishes those that it has.

use super::serve::{Refusal, Served, Service};
use super::{MAX_CONCURRENT_STORES, MAX_HELD_KIB, MAX_PACKET_BYTES};
use crate::remote::memory_budget::MemoryBudget;
use crate::remote::{leave, round_trip};
use crate::trace_headers;
use async_nats::{Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use souk_bindings::trace::Parent;
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

/// The messages that a host holds, and their budgets.
struct Hold {
    nats: Nats,
    /// Subscriptions and requests.
    tasks: TaskTracker,
    request_budget: Arc<Semaphore>,
    /// The memory for the decoded values of requests and events.
    values: MemoryBudget,
    /// The events that the host holds, each a task.
    events: TaskTracker,
    event_budget: Arc<Semaphore>,
    /// Turns for events to store. Storing needs no instance, so these events do not take the places of requests.
    storing: Arc<Semaphore>,
}

impl Bridge {
    /// Answers messages until `stop`.
    ///
    /// # Errors
    /// When NATS refuses a subscription.
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
        // When other hosts learn that this host serves, it must be in the queue groups already.
        round_trip(nats.client()).await;
        Ok(Bridge { hold, stop })
    }

    /// Waits until it is stopped, then up to `timeout` for the messages in progress.
    pub async fn finish(self, timeout: Duration) {
        self.stop.cancelled().await;
        let Hold { tasks, events, nats, .. } = &*self.hold;
        tasks.close();
        events.close();
        let finished = async {
            // In this order, because subscriptions create event tasks.
            tasks.wait().await;
            events.wait().await;
            nats.client().flush().await
        };
        if matches!(tokio::time::timeout(timeout, finished).await, Ok(Ok(()))) {
            return;
        }
        if !tasks.is_empty() {
            tracing::warn!(
                "requests of Nest clients were in progress when the limit `drain` was over; they get no answer"
            );
        }
        if !events.is_empty() {
            tracing::error!(
                "{} events of Nest clients are lost: they were not stored, or their calls had not ended, when the limit `drain` was over",
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

    async fn take(&self, Message { payload, reply, headers, .. }: Message) {
        let parent = headers.as_ref().and_then(trace_headers::read);
        let too_large = || Refusal::new(413, format!("a message has at most {MAX_PACKET_BYTES} bytes"));
        // Without a reply subject, or with a reserved one, the message is an event: no answer can be sent.
        let Some(reply) = reply.filter(|reply| !is_reserved(reply)) else {
            return match payload.len() > MAX_PACKET_BYTES {
                true => self.served.lost(&too_large()),
                false => self.event(&payload, parent),
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
        // Before this host answers, or it would miss the other service's answer.
        let watch = served.second_answers.watch(nats, &reply).await;
        let (served, nats, payload, values) = (served.clone(), nats.clone(), own(&payload), self.hold.values.clone());
        self.hold.tasks.spawn(async move {
            served.request(&nats, &reply, &payload, &values, parent).await;
            drop(place);
            if let Some(watch) = watch {
                watch.count(served.component(), &served.subject).await;
            }
        });
    }

    fn event(&self, payload: &Bytes, parent: Option<Parent>) {
        let Some(reservation) = reserve(&self.hold.event_budget, payload) else {
            let held = format!("the events that wait hold {MAX_HELD_KIB} KiB; fix: see in this log why they wait");
            return self.served.lost(&Refusal::new(503, held));
        };
        let turns = if self.served.is_stored() { &self.hold.storing } else { &self.slots };
        let (served, turns, payload) = (self.served.clone(), turns.clone(), own(payload));
        let values = self.hold.values.clone();
        self.hold.events.spawn(async move {
            let turn = turns.acquire_owned().await;
            // Boxed, so that the task of a waiting event is small.
            Box::pin(served.event(payload, &values, parent)).await;
            drop((turn, reservation));
        });
    }
}

/// Reserves memory for a message, in whole KiB.
fn reserve(budget: &Arc<Semaphore>, payload: &Bytes) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(payload.len().div_ceil(1024).max(1)).unwrap_or(u32::MAX);
    budget.clone().try_acquire_many_owned(kib).ok()
}

/// A copy of a payload. The original is a slice of the client's read buffer, and would keep the whole buffer in memory.
fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}
