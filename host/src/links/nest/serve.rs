//! From a Nest client to a component: patterns that are answered by exports.
//!
//! Every host that runs the component subscribes in the queue group that has the component's name, so each message is
//! for one of them; a Nest service with the same `queue` takes its share, until it is stopped. A call has the
//! component's deadline and a trace of its own.
//!
//! **Bounds.** As many messages of a component are in hand as it has instances and places for those who wait. A request
//! beyond that is told so at once; an event waits, since nobody would send it again. When the host stops it takes no
//! more messages, and finishes those that it has.

use super::function::{Answer, Function, Way};
use super::packet::{self, Incoming, Outcome};
use super::{MAX_PACKET, NestError, errors};
use crate::bindings::printable;
use crate::call::CallContext;
use crate::limits::ComponentLimits;
use crate::links::LinkError;
use crate::links::durable::{Complaint, Key, MAX_ARGUMENTS, NewMessage, Published, Queue, is_delivery};
use crate::manifest::NestPattern;
use crate::nats::Nats;
use crate::nats::subject::is_reserved;
use crate::runtime::{Exported, Failure, Pool};
use async_nats::{Message, SubscribeError, Subscriber};
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Whether one of `patterns` is answered by a function of a durable contract, which needs a queue.
pub fn has_events(exported: &Exported, patterns: &[NestPattern]) -> bool {
    exported.functions.iter().any(|function| {
        let served = |p: &NestPattern| p.function == function.name && p.interface.covers(&function.interface);
        is_delivery(&function.ty) && patterns.iter().any(served)
    })
}

/// The patterns that one component answers.
pub struct Service {
    pool: Arc<Pool>,
    patterns: Vec<Arc<Served>>,
    slots: Arc<Semaphore>,
}

/// One pattern and the function that answers it.
struct Served {
    pool: Arc<Pool>,
    subject: String,
    /// Where the function is among the component's.
    position: usize,
    function: Function,
    /// Where messages are stored first, for a function of a durable contract.
    stored: Option<(Queue, Key)>,
    complaint: Complaint,
}

/// Why a message was not answered with what it asked for.
struct Refusal {
    status: u16,
    message: String,
}

impl Service {
    /// Finds the functions of `patterns` among the exports of `pool`'s component.
    ///
    /// # Errors
    /// When one is not there, or the table does not fit it.
    pub fn of(
        pool: &Arc<Pool>,
        patterns: &[NestPattern],
        limits: &ComponentLimits,
        queue: Option<&Queue>,
    ) -> Result<Self, NestError> {
        let mut served = Vec::new();
        for pattern in patterns {
            let failed = |error: LinkError| NestError { line: pattern.line, error };
            let functions = &pool.compiled().exported.functions;
            let found = functions.iter().enumerate().find(|(_, function)| {
                function.name == pattern.function && pattern.interface.covers(&function.interface)
            });
            let Some((position, export)) = found else {
                let offers: Vec<String> =
                    functions.iter().map(|function| format!("{}#{}", function.interface, function.name)).collect();
                let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
                return Err(failed(LinkError::Missing {
                    exporter: pool.component().clone(),
                    item: format!("{}#{}", pattern.interface, pattern.function),
                    fix: format!("it exports {offers}; name one of these for the pattern `{}`", pattern.subject),
                }));
            };
            let durable = is_delivery(&export.ty);
            let way = if durable { Way::Event } else { Way::In };
            let function = Function::of(pattern, &export.ty, way).map_err(|error| failed(error.into()))?;
            let key = || Key {
                target: pool.component().clone(),
                interface: export.interface.as_str().into(),
                function: export.name.as_str().into(),
            };
            served.push(Arc::new(Served {
                pool: pool.clone(),
                subject: pattern.subject.clone(),
                position,
                function,
                stored: queue.filter(|_| durable).map(|queue| (queue.clone(), key())),
                complaint: Complaint::default(),
            }));
        }
        let in_hand = usize::try_from(limits.instances.saturating_add(limits.waiting)).unwrap_or(usize::MAX);
        let slots = Arc::new(Semaphore::new(in_hand.min(Semaphore::MAX_PERMITS)));
        Ok(Service { pool: pool.clone(), patterns: served, slots })
    }
}

/// The subscriptions of an application.
pub struct Bridge {
    tasks: TaskTracker,
    stop: CancellationToken,
    nats: Nats,
}

impl Bridge {
    /// Answers messages until `stop`.
    ///
    /// # Errors
    /// When NATS takes no subscription.
    pub async fn start(nats: &Nats, services: &[Service], stop: CancellationToken) -> Result<Self, SubscribeError> {
        let tasks = TaskTracker::new();
        for service in services {
            for served in &service.patterns {
                let group = service.pool.component().to_string();
                let messages = nats.client().queue_subscribe(served.subject.clone(), group).await?;
                let lane = Lane {
                    served: served.clone(),
                    slots: service.slots.clone(),
                    tasks: tasks.clone(),
                    nats: nats.clone(),
                };
                tasks.spawn(lane.run(messages, stop.clone()));
            }
        }
        Ok(Bridge { tasks, stop, nats: nats.clone() })
    }

    /// Waits until it is stopped, then up to `patience` for what is in hand.
    pub async fn finish(self, patience: Duration) {
        self.stop.cancelled().await;
        self.tasks.close();
        let flushed = async {
            self.tasks.wait().await;
            self.nats.client().flush().await
        };
        if !matches!(tokio::time::timeout(patience, flushed).await, Ok(Ok(()))) {
            tracing::warn!("messages of Nest clients were in hand when the limit `drain` was over; they get no answer");
        }
    }
}

/// The messages of one pattern.
struct Lane {
    served: Arc<Served>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    nats: Nats,
}

impl Lane {
    async fn run(self, mut messages: Subscriber, stop: CancellationToken) {
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        // What the server has sent already is answered, too.
        if messages.drain().await.is_ok() {
            while let Some(message) = messages.next().await {
                self.take(message).await;
            }
        }
    }

    async fn take(&self, message: Message) {
        let slot = match message.reply {
            Some(_) => self.slots.clone().try_acquire_owned().ok(),
            None => self.slots.clone().acquire_owned().await.ok(),
        };
        let (served, nats) = (self.served.clone(), self.nats.clone());
        let Some(slot) = slot else {
            served.reply(&nats, &message, Err(served.overloaded())).await;
            return;
        };
        self.tasks.spawn(async move {
            let trace: Arc<str> = Uuid::now_v7().to_string().into();
            let outcome = served.answer(&message, &trace).await;
            if let (Err(refusal), None) = (&outcome, &message.reply) {
                tracing::error!(
                    component = %served.pool.component(),
                    trace = %trace,
                    "an event `{}` is lost: {}",
                    served.subject,
                    printable(&refusal.message)
                );
            }
            served.reply(&nats, &message, outcome).await;
            drop(slot);
        });
    }
}

impl Served {
    async fn answer(&self, message: &Message, trace: &Arc<str>) -> Result<Answer, Refusal> {
        if message.payload.len() > MAX_PACKET {
            return Err(Refusal { status: 413, message: format!("a message has at most {MAX_PACKET} bytes") });
        }
        let Some(packet) = Incoming::parse(&message.payload) else {
            return Err(Refusal {
                status: 400,
                message: "the message is no packet of Nest: it is not JSON".to_owned(),
            });
        };
        let arguments = self.function.arguments(&self.subject, packet.data);
        let params = self.function.codec.decode_params(arguments.as_bytes());
        let params = params.map_err(|error| Refusal { status: 400, message: format!("data does not fit: {error}") })?;
        if let Some((queue, key)) = &self.stored {
            self.store(queue, key, arguments, trace).await?;
            return Ok(Answer::Response("null".to_owned()));
        }
        let context = CallContext::new(trace.clone(), self.pool.call_deadline());
        match self.pool.call(self.position, params, context).await {
            Ok(results) => match self.function.outcome(&results) {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    tracing::error!(component = %self.pool.component(), trace = %trace, "its answer to `{}`: {error}", self.subject);
                    Ok(Answer::Error(errors::internal()))
                }
            },
            Err(error) => {
                match error.failure {
                    Failure::Overloaded => tracing::debug!(component = %error.component, trace = %trace, "{error}"),
                    _ => tracing::warn!(component = %error.component, trace = %trace, "{error}"),
                }
                Err(Refusal { status: 503, message: error.message() })
            }
        }
    }

    async fn store(&self, queue: &Queue, key: &Key, arguments: String, trace: &Arc<str>) -> Result<(), Refusal> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(Refusal { status: 413, message: format!("data has at most {MAX_ARGUMENTS} bytes") });
        }
        let message = NewMessage { key: key.clone(), caller: "nest".into(), trace: trace.clone(), hops: 0, arguments };
        let deadline = Instant::now() + self.pool.call_deadline();
        let cause = match queue.publish(message, deadline).await {
            Ok(Published::Stored(id)) => {
                self.complaint.ended(|| tracing::info!(component = %key.target, "events are stored again"));
                tracing::debug!(component = %key.target, trace = %trace, "stored message {id} of `{}`", self.subject);
                return Ok(());
            }
            Ok(Published::TooLarge(most)) => {
                return Err(Refusal { status: 413, message: format!("data has at most {most} bytes") });
            }
            Ok(Published::Full) => {
                "the queue is full (limit `durable_bytes`); fix: see what waits with `souk events list`".to_owned()
            }
            Err(error) => format!("{error}; fix: {}", error.fix()),
        };
        self.complaint.happened(|more| {
            tracing::error!(
                component = %key.target,
                "events `{}` cannot be stored: {cause} ({more} more since the last such line)",
                self.subject
            );
        });
        Err(Refusal { status: 503, message: format!("the message for {} cannot be stored now", key.target) })
    }

    fn overloaded(&self) -> Refusal {
        Refusal { status: 503, message: format!("{} is overloaded; try again shortly", self.pool.component()) }
    }

    /// Sends the reply, if the message asks for one.
    async fn reply(&self, nats: &Nats, message: &Message, outcome: Result<Answer, Refusal>) {
        let Some(subject) = message.reply.as_ref().filter(|subject| !is_reserved(subject)) else { return };
        let id = Incoming::parse(&message.payload).and_then(|packet| packet.id);
        let packet = match &outcome {
            Ok(Answer::Response(json)) => packet::reply(&Outcome::Response(json), id),
            Ok(Answer::Error(json)) => packet::reply(&Outcome::Error(json), id),
            Err(Refusal { status, message }) => {
                packet::reply(&Outcome::Error(&errors::packet(&(*status).into(), message)), id)
            }
        };
        let most = nats.client().max_payload();
        let packet = if packet.len() > most {
            tracing::error!(
                component = %self.pool.component(),
                "an answer to `{}` has {} bytes, and NATS takes {most}; fix: ask for less at a time, or raise the server's \
                 `max_payload`",
                self.subject,
                packet.len()
            );
            let error = errors::packet(&500.into(), "the answer is larger than a message may be");
            packet::reply(&Outcome::Error(&error), id)
        } else {
            packet
        };
        if let Err(error) = nats.client().publish(subject.clone(), packet.into()).await {
            tracing::warn!(component = %self.pool.component(), "an answer to `{}` cannot be sent: {error}", self.subject);
        }
    }
}
