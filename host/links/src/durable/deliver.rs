//! Deliveries: a worker takes messages from the queue and calls their target. This module has the part that is the same
//! for both kinds of queue: which function is called with which arguments, and what happens to the message then.
//!
//! Each target has its own worker, so that a target that hangs does not delay the messages of others.

use super::backoff::Backoff;
use super::contract::{self, Verdict};
use super::message::{Key, Message, QueueError, kept};
use super::queue::Queue;
use super::schedule::{self, Scheduled};
use super::{MAX_REASON_BYTES, file, jetstream, watch};
use parking_lot::RwLock;
use souk_bindings::call::CallContext;
use souk_bindings::trace::{Attribute, Parent, SharedRedaction, Span};
use souk_manifest::limits::ComponentLimits;
use souk_runtime::{CallerType, Failure, Pool, Version, vital};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of delivery.
    pub(crate) const FIXED_LIMITS = "durable";

    /// The pause before a failed operation of the queue is tried again.
    pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
}

/// The deliveries of an application.
pub struct Deliveries {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Deliveries {
    /// Delivers the messages in `queue` to `pools` until `stop`, and stores the calls of `schedules` in it when they
    /// are due. Each pool is given with its limits: after a reload, the version that has them serves only once the
    /// deliveries have started.
    ///
    /// # Errors
    /// When the queue fails.
    pub async fn start<'a>(
        queue: &Queue,
        pools: impl Iterator<Item = (&'a Arc<Pool>, &'a ComponentLimits)>,
        schedules: &[Arc<Scheduled>],
        stop: CancellationToken,
    ) -> Result<Self, QueueError> {
        let workers: Vec<DeliveryWorker> =
            pools.filter_map(|(pool, limits)| DeliveryWorker::of(pool, limits)).collect();
        let tasks = TaskTracker::new();
        match queue {
            Queue::File(queue) => file::deliver::start(queue, workers, &tasks, &stop).await?,
            Queue::JetStream(queue) => jetstream::deliver::start(queue, workers, &tasks, &stop).await?,
        }
        tasks.spawn(vital("the watch over durable messages", watch::run(queue.clone(), stop.clone())));
        if !schedules.is_empty() {
            tasks.spawn(vital("schedules", schedule::run(queue.clone(), schedules.to_vec(), stop.clone())));
        }
        Ok(Deliveries { tasks, stop })
    }

    /// Waits until deliveries are stopped, then up to `timeout` for those that are in progress. A delivery that is cut
    /// off then is made again, after the next start or by another host.
    pub async fn finish(self, timeout: Duration) {
        self.stop.cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "{} deliveries were in progress when the limit `drain` was over; they are repeated after the next start",
                self.tasks.len()
            );
        }
    }
}

/// A function that messages can call.
struct Handler {
    key: Key,
    position: usize,
    /// The function's type.
    ty: CallerType,
}

/// The functions of one version that messages can call.
struct Handlers {
    version: u64,
    all: Vec<Arc<Handler>>,
}

impl Handlers {
    fn of(pool: &Pool, version: &Version) -> Self {
        let functions = version.compiled().exported.functions.iter();
        let all = functions.filter(|function| contract::is_delivery(&function.ty)).filter_map(|function| {
            let position = pool.position(&function.interface, &function.name)?;
            let key = Key {
                target: pool.component().clone(),
                interface: function.interface.as_str().into(),
                function: function.name.as_str().into(),
            };
            let ty = CallerType::of(&function.name, &function.ty).ok()?.within(pool.limits().call_bytes.as_u64());
            Some(Arc::new(Handler { key, position, ty }))
        });
        Handlers { version: version.id().number, all: all.collect() }
    }
}

/// Delivers the messages of one component.
pub(super) struct DeliveryWorker {
    pub(super) pool: Arc<Pool>,
    /// The functions of one version: the one that served when they were last looked up.
    handlers: RwLock<Handlers>,
    pub(super) backoff: Backoff,
    /// The most attempts of one message.
    attempts: u32,
    /// How many messages it delivers at the same time.
    deliveries: usize,
    /// How long a call may take.
    pub(super) call_deadline: Duration,
}

/// How a delivery has ended, and what becomes of the message.
pub(super) enum DeliveryOutcome {
    Delivered,
    RetryLater {
        reason: String,
        uncounted: bool,
    },
    DeadLetter(String),
    /// No version here can take it, for this reason; it stays until one can.
    Stranded(String),
}

impl DeliveryOutcome {
    /// The same outcome, whose reason is a component's text, without secrets: it is stored, logged and shown.
    fn without(self, secrets: &SharedRedaction) -> Self {
        let shown = |reason: String| secrets.beginning(&reason, MAX_REASON_BYTES);
        match self {
            DeliveryOutcome::Delivered => DeliveryOutcome::Delivered,
            DeliveryOutcome::RetryLater { reason, uncounted } => {
                DeliveryOutcome::RetryLater { reason: shown(reason), uncounted }
            }
            DeliveryOutcome::DeadLetter(reason) => DeliveryOutcome::DeadLetter(shown(reason)),
            DeliveryOutcome::Stranded(reason) => DeliveryOutcome::Stranded(shown(reason)),
        }
    }

    /// The outcome of a message that was not delivered, as metrics name it.
    fn error(&self) -> Option<&'static str> {
        match self {
            DeliveryOutcome::Delivered => None,
            DeliveryOutcome::RetryLater { uncounted: true, .. } => Some("overloaded"),
            DeliveryOutcome::RetryLater { .. } => Some("retried"),
            DeliveryOutcome::DeadLetter(_) => Some("dead-letter"),
            DeliveryOutcome::Stranded(_) => Some("stranded"),
        }
    }
}

impl DeliveryWorker {
    /// The worker of a component; `None` when the component exports no function that a message can call.
    pub(super) fn of(pool: &Arc<Pool>, limits: &ComponentLimits) -> Option<Self> {
        let handlers = Handlers::of(pool, &pool.active());
        if handlers.all.is_empty() {
            return None;
        }
        Some(DeliveryWorker {
            pool: pool.clone(),
            handlers: RwLock::new(handlers),
            backoff: Backoff::of(limits),
            attempts: u32::try_from(limits.delivery_attempts).unwrap_or(u32::MAX),
            deliveries: usize::try_from(limits.deliveries).unwrap_or(1),
            call_deadline: limits.call_deadline,
        })
    }

    /// The functions that messages can call.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.handlers.read().all.iter().map(|handler| handler.key.clone()).collect()
    }

    /// The number of the version that serves.
    pub(super) fn version(&self) -> u64 {
        self.pool.active().id().number
    }

    /// The function that `key` names, in the version that serves now.
    fn handler(&self, key: &Key) -> Option<Arc<Handler>> {
        let active = self.pool.active();
        if self.handlers.read().version != active.id().number {
            *self.handlers.write() = Handlers::of(&self.pool, &active);
        }
        self.handlers.read().all.iter().find(|handler| handler.key == *key).cloned()
    }

    /// How many messages the worker delivers at the same time.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Calls the target and returns the outcome. A message that has used up its attempts becomes a dead letter. The
    /// queue records that; then it calls [`log_recorded`](DeliveryWorker::log_recorded).
    pub(super) async fn deliver(&self, message: &Message) -> DeliveryOutcome {
        let parent = message.traceparent.as_deref().and_then(Parent::carried);
        let outer = self.pool.tracer().joined(parent);
        let mut crossing = self.pool.deliveries().open(&outer);
        crossing.name(|| format!("deliver {}#{}", message.key.interface, message.key.function));
        crossing.note("messaging.message.id", || Attribute::text(message.id.as_str()));
        crossing.note("souk.attempt", || Attribute::number(message.attempt));
        crossing.note("souk.request.id", || Attribute::text(message.trace.as_str()));
        let outcome = match self.attempt(message, crossing.place(&outer)).await {
            DeliveryOutcome::RetryLater { reason, uncounted: false } if message.attempt >= self.attempts => {
                DeliveryOutcome::DeadLetter(format!("{} attempts failed; the last: {reason}", message.attempt))
            }
            outcome => outcome,
        };
        // First without secrets: of one that `kept` cuts, a part would stay.
        let outcome = outcome.without(self.pool.hidden());
        if let DeliveryOutcome::RetryLater { reason, .. } | DeliveryOutcome::DeadLetter(reason) = &outcome {
            crossing.fails(|| kept(reason));
        }
        crossing.close(outcome.error());
        self.log_attempt(message, &outcome);
        outcome
    }

    async fn attempt(&self, message: &Message, span: Span) -> DeliveryOutcome {
        if message.attempt > self.attempts {
            let reason = message.reason.as_deref().unwrap_or("unknown");
            return DeliveryOutcome::DeadLetter(format!("{} attempts failed; the last: {reason}", message.attempt - 1));
        }
        let Some(handler) = self.handler(&message.key) else {
            return DeliveryOutcome::Stranded("its function does not exist".to_owned());
        };
        let params = match handler.ty.codec().decode_params(message.arguments.as_bytes()) {
            Ok(params) => params,
            Err(error) if message.digest.as_deref() == Some(handler.ty.digest()) => {
                return DeliveryOutcome::DeadLetter(format!("the arguments do not fit the function: {error}"));
            }
            // Another version may take it: an older one after a rollback, or a newer one that is being rolled out.
            Err(error) => {
                return DeliveryOutcome::Stranded(format!(
                    "its arguments are of another type of the function, and do not fit it as it is now: {error}"
                ));
            }
        };
        let context = CallContext {
            hops: message.hops,
            span,
            ..CallContext::new(message.trace.as_str(), self.pool.call_deadline())
        };
        match self.pool.call_from(&handler.ty, handler.position, &params, context).await {
            Ok(results) => match contract::verdict(&results) {
                Verdict::Done => DeliveryOutcome::Delivered,
                Verdict::Retry(reason) => DeliveryOutcome::RetryLater { reason, uncounted: false },
                Verdict::Reject(reason) => DeliveryOutcome::DeadLetter(reason),
            },
            Err(error) => DeliveryOutcome::RetryLater {
                reason: error.to_string(),
                uncounted: error.failure == Failure::Overloaded,
            },
        }
    }

    /// Logs an attempt that leaves the message where it is, never with the arguments: they are the application's data.
    fn log_attempt(&self, message: &Message, outcome: &DeliveryOutcome) {
        let Message { id, key: Key { target, interface, function }, trace, attempt, .. } = message;
        match outcome {
            DeliveryOutcome::Delivered => {
                tracing::debug!(component = %target, trace, "delivered message {id} ({interface}#{function})");
            }
            // There may be thousands, and the target was not called.
            DeliveryOutcome::RetryLater { reason, uncounted: true } => {
                tracing::debug!(component = %target, trace, "message {id} ({interface}#{function}) waits: {reason}");
            }
            DeliveryOutcome::RetryLater { reason, .. } => tracing::warn!(
                component = %target,
                trace,
                "message {id} ({interface}#{function}): attempt {attempt} of {} failed: {}",
                self.attempts,
                kept(reason)
            ),
            DeliveryOutcome::DeadLetter(_) | DeliveryOutcome::Stranded(_) => {}
        }
    }

    /// Logs that the queue has set the message aside. Only then an operator can retry or drop it, as the line says.
    pub(super) fn log_recorded(&self, message: &Message, outcome: &DeliveryOutcome) {
        let Message { id, key: Key { target, interface, function }, caller, trace, .. } = message;
        match outcome {
            DeliveryOutcome::DeadLetter(reason) => tracing::error!(
                component = %target,
                trace,
                "DEAD LETTER {id} from `{caller}` ({interface}#{function}): {}; fix: remove the cause, then `souk events \
                 retry {id}`, or `souk events drop {id}`",
                kept(reason)
            ),
            DeliveryOutcome::Stranded(reason) => tracing::warn!(
                component = %target,
                trace,
                "message {id} ({interface}#{function}) stays: {}; fix: bring back a version of `{target}` that takes it, or \
                 `souk events drop {id}`",
                kept(reason)
            ),
            DeliveryOutcome::Delivered | DeliveryOutcome::RetryLater { .. } => {}
        }
    }
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
pub(super) mod tests;
