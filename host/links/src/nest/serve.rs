//! From a Nest client to a component: exports answer patterns. [`bridge`](super::bridge) has the subscriptions and the
//! bounds on the messages that are held.
//!
//! A call has the component's deadline and a new trace. An event of a durable contract is only stored here. While it
//! cannot be stored, for example because the stream has no leader, it is kept in memory and tried again, because nobody
//! would send it again. So it may be stored twice, as at-least-once delivery allows.

use super::direction::Direction;
use super::function::{Answer, Function};
use super::packet::{self, Incoming, Outcome};
use super::second_service::SecondAnswers;
use super::{NestError, errors};
use crate::LinkError;
use crate::durable::{Key, LogThrottle, MAX_ARGUMENTS_BYTES, NewMessage, Published, Queue, is_delivery};
use crate::remote::memory_budget::{MemoryBudget, Reservation};
use async_nats::Subject;
use bytes::Bytes;
use souk_bindings::brief;
use souk_bindings::call::CallContext;
use souk_bindings::trace::{Parent, Span};
use souk_codec::signature::digest;
use souk_manifest::NestPattern;
use souk_manifest::limits::ComponentLimits;
use souk_nats::Nats;
use souk_runtime::{Exported, Failure, Pool};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;
use wasmtime::component::Val;

souk_manifest::fixed_limits! {
    /// The fixed limits of events.
    pub(crate) const FIXED_LIMITS = "nest";

    /// The pause before an event that could not be stored is tried again.
    const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
}

/// The arguments of a call, and their reservation in the memory budget.
type Params = (Vec<Val>, Reservation);

/// Whether a function of a durable contract, which needs a queue, answers one of `patterns`.
pub fn has_events(exported: &Exported, patterns: &[NestPattern]) -> bool {
    exported.functions.iter().any(|function| {
        let served = |p: &NestPattern| p.function == function.name && p.interface.covers(&function.interface);
        is_delivery(&function.ty) && patterns.iter().any(served)
    })
}

/// The patterns that one component answers.
pub struct Service {
    pub(super) patterns: Vec<Arc<Served>>,
    /// Bounds the messages in progress: as many as the component has instances and places for waiting calls.
    pub(super) slots: Arc<Semaphore>,
}

/// One pattern and the function that answers it.
pub(super) struct Served {
    pool: Arc<Pool>,
    /// The pattern as a NATS subject.
    pub subject: String,
    /// The position of the function in the component's pool.
    position: usize,
    function: Function,
    /// Where messages are stored first; `Some` for a function of a durable contract.
    stored: Option<Stored>,
    store_throttle: LogThrottle,
    loss_throttle: LogThrottle,
    pub(super) second_answers: Arc<SecondAnswers>,
}

/// Where the events of a pattern are stored, and for which function.
struct Stored {
    queue: Queue,
    key: Key,
    /// The digest of the function's type.
    digest: Arc<str>,
}

/// Why a message was refused, as a Nest error.
pub(super) struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }
}

impl Service {
    /// Finds the functions of `patterns` among the exports of `pool`'s component.
    ///
    /// # Errors
    /// When a function does not exist, or the table does not fit it.
    pub fn of(
        pool: &Arc<Pool>,
        patterns: &[NestPattern],
        limits: &ComponentLimits,
        queue: Option<&Queue>,
    ) -> Result<Self, NestError> {
        let mut served = Vec::new();
        for pattern in patterns {
            let failed = |error: LinkError| NestError { line: pattern.line, error };
            let active = pool.active();
            let functions = &active.compiled().exported.functions;
            let found = functions
                .iter()
                .find(|function| function.name == pattern.function && pattern.interface.covers(&function.interface));
            let found = found.and_then(|export| Some((pool.position(&export.interface, &export.name)?, export)));
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
            let direction = if durable { Direction::Event } else { Direction::Inbound };
            let function = Function::of(pattern, &export.ty, direction).map_err(|error| failed(error.into()))?;
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
                stored: queue.filter(|_| durable).map(|queue| Stored {
                    queue: queue.clone(),
                    key: key(),
                    digest: digest(&export.name, &export.ty).into(),
                }),
                store_throttle: LogThrottle::default(),
                loss_throttle: LogThrottle::default(),
                second_answers: Arc::default(),
            }));
        }
        let in_hand = usize::try_from(limits.instances.saturating_add(limits.waiting)).unwrap_or(usize::MAX);
        let slots = Arc::new(Semaphore::new(in_hand.min(Semaphore::MAX_PERMITS)));
        Ok(Service { patterns: served, slots })
    }

    /// The component.
    pub fn component(&self) -> Option<&Arc<str>> {
        self.patterns.first().map(|served| served.component())
    }

    /// The patterns that another service answers too.
    pub fn answered_twice(&self) -> Vec<&str> {
        let twice = self.patterns.iter().filter(|served| served.second_answers.is_answered_twice());
        twice.map(|served| served.subject.as_str()).collect()
    }
}

impl Served {
    /// The component. Its name is also the name of the queue group.
    pub(super) fn component(&self) -> &Arc<str> {
        self.pool.component()
    }

    /// Whether its messages are only stored here.
    pub(super) fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Answers a request. The client's place in a trace only gives the ids: the host decides what is recorded.
    pub(super) async fn request(
        &self,
        nats: &Nats,
        reply: &Subject,
        payload: &[u8],
        values: &MemoryBudget,
        parent: Option<Parent>,
    ) {
        let (trace, span) = (trace(), self.pool.tracer().root(parent));
        let outcome = match (self.arguments(payload, values), &self.stored) {
            (Ok((arguments, params)), Some(stored)) => {
                drop(params);
                match self.store(stored, arguments, &trace, &span).await {
                    Ok(true) => Ok(Answer::Response("null".to_owned())),
                    Ok(false) => Err(self.unavailable("cannot be sent messages now; try again later")),
                    Err(refusal) => Err(refusal),
                }
            }
            (Ok((_, params)), None) => self.call(params, &trace, span).await,
            (Err(refusal), _) => Err(refusal),
        };
        // While the connection stalls, answers wait here.
        let held = match &outcome {
            Ok(Answer::Response(json) | Answer::Error(json)) => values.reserve(json.len()),
            Err(_) => None,
        };
        let outcome = match outcome {
            Ok(_) if held.is_none() => Err(self.unavailable("has answered, but its answer cannot be sent now")),
            outcome => outcome,
        };
        self.reply(nats, reply, payload, outcome).await;
        drop(held);
    }

    /// Handles an event. An event of a durable contract is kept until it is stored, or until it turns out that it never
    /// can be.
    pub(super) async fn event(&self, payload: Bytes, values: &MemoryBudget, parent: Option<Parent>) {
        let (trace, span) = (trace(), self.pool.tracer().root(parent));
        let read = self.arguments(&payload, values);
        drop(payload);
        let outcome = match (read, &self.stored) {
            (Ok((arguments, params)), Some(stored)) => {
                drop(params);
                loop {
                    match self.store(stored, arguments.clone(), &trace, &span).await {
                        Ok(true) => break Ok(()),
                        Ok(false) => tokio::time::sleep(STORE_RETRY_INTERVAL).await,
                        Err(refusal) => break Err(refusal),
                    }
                }
            }
            (Ok((_, params)), None) => self.call(params, &trace, span).await.map(|_| ()),
            (Err(refusal), _) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            self.lost(&refusal);
        }
    }

    /// Logs that an event is lost.
    pub(super) fn lost(&self, refusal: &Refusal) {
        self.loss_throttle.failed(|more| {
            tracing::error!(
                component = %self.component(),
                "an event `{}` is lost: {} ({more} more since the last such line)",
                self.subject,
                brief(&refusal.message)
            );
        });
    }

    /// The arguments in a message: as the codec's JSON, and as values that fit the function, with memory reserved for
    /// them in the budget `values`.
    fn arguments(&self, payload: &[u8], values: &MemoryBudget) -> Result<(String, Params), Refusal> {
        let packet = Incoming::parse(payload)
            .ok_or_else(|| Refusal::new(400, "the message is not a packet of Nest: it is not JSON"))?;
        let arguments = self.function.arguments(&self.subject, packet.data);
        let mut reservation = values.reserve(0).ok_or_else(|| self.overloaded())?;
        match reservation.read(&self.function.codec, arguments.as_bytes()) {
            Ok(params) => Ok((arguments, (params, reservation))),
            Err((Failure::Overloaded, _)) => Err(self.overloaded()),
            Err((Failure::RequestTooLarge, error)) => Err(Refusal::new(413, error)),
            Err((_, error)) => Err(Refusal::new(400, format!("data does not fit: {error}"))),
        }
    }

    async fn call(&self, (params, _reservation): Params, trace: &Arc<str>, span: Span) -> Result<Answer, Refusal> {
        let context = CallContext { span, ..CallContext::new(trace.clone(), self.pool.call_deadline()) };
        match self.pool.call(self.position, &params, context).await {
            Ok(results) => match self.function.outcome(&results) {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    tracing::error!(component = %self.component(), trace = %trace, "its answer to `{}`: {error}", self.subject);
                    Ok(Answer::Error(errors::internal()))
                }
            },
            Err(error) => {
                let (component, version) = (&error.component, error.version);
                match error.failure {
                    Failure::Overloaded => tracing::debug!(%component, version, trace = %trace, "{error}"),
                    _ => tracing::warn!(%component, version, trace = %trace, "{error}"),
                }
                Err(Refusal::new(503, error.message()))
            }
        }
    }

    /// Stores a message; `false` when that failed and may succeed later.
    async fn store(&self, stored: &Stored, arguments: String, trace: &Arc<str>, span: &Span) -> Result<bool, Refusal> {
        let Stored { queue, key, digest } = stored;
        if arguments.len() > MAX_ARGUMENTS_BYTES {
            return Err(Refusal::new(413, format!("data has at most {MAX_ARGUMENTS_BYTES} bytes")));
        }
        let message = NewMessage {
            key: key.clone(),
            caller: "nest".into(),
            trace: trace.clone(),
            traceparent: span.carried(),
            hops: 0,
            due: None,
            digest: digest.clone(),
            arguments,
        };
        let deadline = Instant::now() + self.pool.call_deadline();
        let (cause, fix) = match queue.publish(message, deadline).await {
            Ok(Published::Stored(id)) => {
                self.store_throttle.recovered(|| tracing::info!(component = %key.target, "events are stored again"));
                tracing::debug!(component = %key.target, trace = %trace, "stored message {id} of `{}`", self.subject);
                return Ok(true);
            }
            Ok(Published::TooLarge(most)) => {
                return Err(Refusal::new(413, format!("data has at most {most} bytes")));
            }
            Ok(Published::Full) => {
                ("the queue is full (limit `durable_bytes`)".to_owned(), "`souk events list` shows what waits")
            }
            Err(error) => (error.to_string(), error.fix()),
        };
        self.store_throttle.failed(|more| {
            tracing::error!(
                component = %key.target,
                "events `{}` cannot be stored: {cause}; they are kept and tried again ({more} more since the last such \
                 line); fix: {fix}",
                self.subject
            );
        });
        Ok(false)
    }

    fn unavailable(&self, what: &str) -> Refusal {
        Refusal::new(503, format!("{} {what}", self.component()))
    }

    /// The refusal of a request that the component cannot take now.
    pub(super) fn overloaded(&self) -> Refusal {
        self.unavailable("is overloaded; try again shortly")
    }

    /// Sends the reply to the request in `payload`.
    pub(super) async fn reply(&self, nats: &Nats, to: &Subject, payload: &[u8], outcome: Result<Answer, Refusal>) {
        let id = Incoming::parse(payload).and_then(|packet| packet.id);
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
                component = %self.component(),
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
        if let Err(error) = nats.client().publish(to.clone(), packet.into()).await {
            tracing::warn!(component = %self.component(), "an answer to `{}` cannot be sent: {error}", self.subject);
        }
    }
}

fn trace() -> Arc<str> {
    Uuid::now_v7().to_string().into()
}
