//! Deliveries from the queue file. A worker takes as many messages as it may deliver at the same time, then sleeps
//! until a message arrives or is due. When the queue fails, the worker retries every second. A delivery whose outcome
//! cannot be recorded does the same; only the end of the process loses that outcome.

use super::FileQueue;
use crate::durable::deliver::{DeliveryOutcome, DeliveryWorker, RETRY_INTERVAL};
use crate::durable::log_throttle::LogThrottle;
use crate::durable::message::{Key, Message, QueueError};
use crate::durable::{millis, now};
use souk_runtime::vital;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of delivery from a file.
    pub(crate) const FIXED_LIMITS = "durable: file";

    /// How long a worker sleeps at most before it looks for due messages again: somebody may have changed the clock.
    const MAX_SLEEP: Duration = Duration::from_secs(60);
}

/// Starts the `workers` in `tasks`, until `stop`.
pub(in crate::durable) async fn start(
    queue: &FileQueue,
    workers: Vec<DeliveryWorker>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let known = workers.iter().flat_map(DeliveryWorker::keys).collect();
    for (Key { target, interface, function }, count) in queue.strand_unknown(known).await? {
        tracing::warn!(
            "{count} stored messages call `{interface}#{function}` of component `{target}`, which does not exist: they \
             stay in the queue; fix: add it again, or delete them (`souk events list`, `souk events drop`)"
        );
    }
    for worker in workers {
        let runner = Runner { queue: queue.clone(), worker, log_throttle: LogThrottle::default() };
        tasks.spawn(vital("a delivery worker", Arc::new(runner).run(tasks.clone(), stop.clone())));
    }
    Ok(())
}

/// Runs one worker on the queue.
struct Runner {
    queue: FileQueue,
    worker: DeliveryWorker,
    log_throttle: LogThrottle,
}

impl Runner {
    async fn run(self: Arc<Self>, tasks: TaskTracker, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.worker.deliveries()));
        let component = self.worker.pool.component();
        let arrivals = self.queue.arrivals(component);
        let mut version = self.worker.version();
        while let Some(Ok(slot)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
            let mut free = vec![slot];
            while let Ok(slot) = slots.clone().try_acquire_owned() {
                free.push(slot);
            }
            // The new version may accept messages that the previous one could not.
            let serving = self.worker.version();
            if serving != version {
                match self.queue.retry_stranded(component.clone()).await {
                    Ok(()) => version = serving,
                    Err(error) => self.log_failure(&error),
                }
            }
            let (asked, backoff) = (free.len(), self.worker.backoff);
            let taken = self.queue.take(component.clone(), asked, move |attempt| millis(backoff.pause(attempt))).await;
            let sleep = match taken {
                Ok(taken) => {
                    self.log_throttle.recovered(|| tracing::info!(component = %component, "deliveries resume"));
                    let found = taken.messages.len();
                    for (message, slot) in taken.messages.into_iter().zip(free) {
                        let runner = self.clone();
                        tasks.spawn(vital("a delivery", async move {
                            runner.deliver(&message).await;
                            drop(slot);
                        }));
                    }
                    if found == asked {
                        // There may be more.
                        continue;
                    }
                    let pause = taken.next_due.map(|due| u64::try_from(due.saturating_sub(now())).unwrap_or(0));
                    pause.map_or(MAX_SLEEP, Duration::from_millis).min(MAX_SLEEP)
                }
                Err(error) => {
                    self.log_failure(&error);
                    drop(free);
                    RETRY_INTERVAL
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
        let outcome = self.worker.deliver(message).await;
        while let Err(error) = self.record(message, &outcome).await {
            self.log_failure(&error);
            if matches!(error, QueueError::Stopped) {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn record(&self, message: &Message, outcome: &DeliveryOutcome) -> Result<(), QueueError> {
        match outcome {
            DeliveryOutcome::Delivered => self.queue.ack(message).await,
            DeliveryOutcome::RetryLater { reason, uncounted } => {
                let pause = millis(self.worker.backoff.pause(message.attempt));
                self.queue.retry_later(message, reason, pause, *uncounted).await
            }
            DeliveryOutcome::DeadLetter(reason) => self.queue.dead_letter(message, reason).await,
            DeliveryOutcome::Stranded(reason) => self.queue.mark_stranded(message, reason).await,
        }
    }

    fn log_failure(&self, error: &QueueError) {
        self.log_throttle.failed(|_| {
            tracing::error!(
                component = %self.worker.pool.component(),
                "deliveries wait, because the queue cannot be read or written: {error}; fix: {}",
                error.fix()
            );
        });
    }
}
