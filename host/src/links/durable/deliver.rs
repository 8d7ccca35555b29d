//! Deliveries: messages taken from the queue, and their target called.
//!
//! A lane a target, so that one that hangs holds up nobody else's messages. A lane takes as many messages as it may
//! deliver at one time, and sleeps until one arrives or is due. Where the queue fails it tries again each second, and
//! so does a delivery that cannot note its end: what it did is forgotten only with the process.

use super::backoff::Backoff;
use super::complaint::Complaint;
use super::contract::{self, Verdict};
use super::queue::{Key, Message, Queue, QueueError, kept};
use super::{FAILED, now, watch};
use crate::call::CallContext;
use crate::limits::millis;
use crate::links::codec::FunctionCodec;
use crate::runtime::{Failure, Pool};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between two tries of a queue that fails.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest sleep of a lane: the clock may have been set meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

/// The deliveries of an application.
pub struct Deliveries {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Deliveries {
    /// Delivers what is in `queue` to `pools` until `stop`.
    ///
    /// # Errors
    /// When the queue fails.
    pub async fn start<'a>(
        queue: &Queue,
        pools: impl Iterator<Item = &'a Arc<Pool>>,
        stop: CancellationToken,
    ) -> Result<Self, QueueError> {
        let lanes: Vec<Lane> = pools.filter_map(|pool| Lane::of(queue, pool)).collect();
        let known = lanes.iter().flat_map(|lane| lane.handlers.iter().map(|handler| handler.key.clone())).collect();
        for (Key { target, interface, function }, count) in queue.strand_unknown(known).await? {
            tracing::warn!(
                "{count} stored messages are for `{interface}#{function}` of component `{target}`, which is not there: \
                 they stay; fix: bring it back, or drop them (`souk events list`)"
            );
        }
        let tasks = TaskTracker::new();
        for lane in lanes {
            tasks.spawn(Arc::new(lane).run(tasks.clone(), stop.clone()));
        }
        tasks.spawn(watch::run(queue.clone(), stop.clone()));
        Ok(Deliveries { tasks, stop })
    }

    /// Waits until they are stopped, then up to `patience` for those that are under way. What is cut off then is
    /// delivered again by the next host.
    pub async fn finish(self, patience: Duration) {
        self.stop.cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "{} deliveries were under way when the limit `drain` was over; they are made again at the next start",
                self.tasks.len()
            );
        }
    }
}

/// A function that messages can call.
struct Handler {
    key: Key,
    position: usize,
    codec: FunctionCodec,
}

/// The deliveries to one component.
struct Lane {
    queue: Queue,
    pool: Arc<Pool>,
    handlers: Vec<Handler>,
    backoff: Backoff,
    /// How many a message has.
    attempts: u32,
    complaint: Complaint,
}

/// What becomes of a message.
enum End {
    Delivered,
    Later { reason: String, uncounted: bool },
    Dead(String),
    Stranded,
}

impl Lane {
    /// The lane of a component; `None` when it exports nothing that messages can call.
    fn of(queue: &Queue, pool: &Arc<Pool>) -> Option<Self> {
        let functions = pool.compiled().exported.functions.iter().enumerate();
        let handlers: Vec<Handler> = functions
            .filter(|(_, function)| contract::is_delivery(&function.ty))
            .filter_map(|(position, function)| {
                let key = Key {
                    target: pool.component().clone(),
                    interface: function.interface.as_str().into(),
                    function: function.name.as_str().into(),
                };
                Some(Handler { key, position, codec: FunctionCodec::of(&function.ty).ok()? })
            })
            .collect();
        if handlers.is_empty() {
            return None;
        }
        let limits = pool.limits();
        let attempts = u32::try_from(limits.delivery_attempts).unwrap_or(u32::MAX);
        let (backoff, complaint) = (Backoff::of(limits), Complaint::default());
        Some(Lane { queue: queue.clone(), pool: pool.clone(), handlers, backoff, attempts, complaint })
    }

    async fn run(self: Arc<Self>, tasks: TaskTracker, stop: CancellationToken) {
        let deliveries = usize::try_from(self.pool.limits().deliveries).unwrap_or(1);
        let slots = Arc::new(Semaphore::new(deliveries));
        let arrivals = self.queue.arrivals(self.pool.component());
        while let Some(Ok(slot)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
            let mut free = vec![slot];
            while let Ok(slot) = slots.clone().try_acquire_owned() {
                free.push(slot);
            }
            let (asked, backoff) = (free.len(), self.backoff);
            let taken =
                self.queue.take(self.pool.component().clone(), asked, move |attempt| backoff.pause(attempt)).await;
            let sleep = match taken {
                Ok(taken) => {
                    self.complaint.ended(|| tracing::info!(component = %self.pool.component(), "deliveries go on"));
                    let found = taken.messages.len();
                    for (message, slot) in taken.messages.into_iter().zip(free) {
                        let lane = self.clone();
                        tasks.spawn(async move {
                            lane.deliver(&message).await;
                            drop(slot);
                        });
                    }
                    if found == asked {
                        // There may be more.
                        continue;
                    }
                    let pause = taken.next_due.map(|due| u64::try_from(due.saturating_sub(now())).unwrap_or(0));
                    pause.map_or(LONGEST, millis).min(LONGEST)
                }
                Err(error) => {
                    self.complain(&error);
                    drop(free);
                    AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = arrivals.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn deliver(&self, message: &Message) {
        let end = match self.attempt(message).await {
            End::Later { reason, uncounted: false } if message.attempt >= self.attempts => {
                End::Dead(format!("{} attempts failed; the last: {reason}", message.attempt))
            }
            end => end,
        };
        self.log(message, &end);
        while let Err(error) = self.note(message, &end).await {
            self.complain(&error);
            if matches!(error, QueueError::Stopped) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn attempt(&self, message: &Message) -> End {
        if message.attempt > self.attempts {
            let reason = message.reason.as_deref().unwrap_or("unknown");
            return End::Dead(format!("{} attempts failed; the last: {reason}", message.attempt - 1));
        }
        let Some(handler) = self.handlers.iter().find(|handler| handler.key == message.key) else {
            return End::Stranded;
        };
        let params = match handler.codec.decode_params(message.arguments.as_bytes()) {
            Ok(params) => params,
            Err(error) => return End::Dead(format!("the arguments do not fit the function as it is now: {error}")),
        };
        let context = CallContext {
            deadline: Instant::now() + self.pool.call_deadline(),
            trace: message.trace.as_str().into(),
            hops: message.hops,
        };
        match self.pool.call(handler.position, params, context).await {
            Ok(results) => match contract::verdict(&results) {
                Verdict::Done => End::Delivered,
                Verdict::Retry(reason) => End::Later { reason, uncounted: false },
                Verdict::Reject(reason) => End::Dead(reason),
            },
            Err(error) => End::Later { reason: error.to_string(), uncounted: error.failure == Failure::Overloaded },
        }
    }

    async fn note(&self, message: &Message, end: &End) -> Result<(), QueueError> {
        match end {
            End::Delivered => self.queue.ack(message).await,
            End::Later { reason, uncounted } => {
                let pause = self.backoff.pause(message.attempt);
                self.queue.retry_later(message, reason, pause, *uncounted).await
            }
            End::Dead(reason) => self.queue.park(message, reason).await,
            End::Stranded => self.queue.strand(message, "its function is not there").await,
        }
    }

    fn complain(&self, error: &QueueError) {
        self.complaint.happened(|_| {
            tracing::error!(
                component = %self.pool.component(),
                "deliveries wait, because nothing can be noted: {error}; fix: {FAILED}"
            );
        });
    }

    /// Never with the arguments: they are the application's data.
    fn log(&self, message: &Message, end: &End) {
        let Message { id, key: Key { target, interface, function }, caller, trace, attempt, .. } = message;
        match end {
            End::Delivered => {
                tracing::debug!(component = %target, trace, "delivered message {id} ({interface}#{function})");
            }
            // There may be thousands of them, and nothing was tried.
            End::Later { reason, uncounted: true } => {
                tracing::debug!(component = %target, trace, "message {id} ({interface}#{function}) waits: {reason}");
            }
            End::Later { reason, .. } => tracing::warn!(
                component = %target,
                trace,
                "message {id} ({interface}#{function}): attempt {attempt} of {} failed: {}",
                self.attempts,
                kept(reason)
            ),
            End::Dead(reason) => tracing::error!(
                component = %target,
                trace,
                "DEAD LETTER {id} from `{caller}` ({interface}#{function}): {}; fix: mend the cause, then `souk events \
                 retry {id}`, or `souk events drop {id}`",
                kept(reason)
            ),
            End::Stranded => tracing::warn!(
                component = %target,
                trace,
                "message {id} stays: `{target}` has no {interface}#{function}"
            ),
        }
    }
}
