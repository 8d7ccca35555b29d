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
        let version = self.worker.version();
        let outcome = self.worker.deliver(message).await;
        self.end(message, &outcome, version).await;
    }

    /// Records the outcome of a delivery that began while `version` served.
    async fn end(&self, message: &Message, outcome: &DeliveryOutcome, version: u64) {
        while let Err(error) = self.record(message, outcome, version).await {
            self.log_failure(&error);
            if matches!(error, QueueError::Stopped) {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        self.worker.log_recorded(message, outcome);
    }

    async fn record(&self, message: &Message, outcome: &DeliveryOutcome, version: u64) -> Result<(), QueueError> {
        match outcome {
            DeliveryOutcome::Delivered => self.queue.ack(message).await,
            DeliveryOutcome::RetryLater { reason, uncounted } => {
                let pause = millis(self.worker.backoff.pause(message.attempt));
                self.queue.retry_later(message, reason, pause, *uncounted).await
            }
            DeliveryOutcome::DeadLetter(reason) => self.queue.dead_letter(message, reason).await,
            DeliveryOutcome::Stranded(reason) => {
                self.queue.mark_stranded(message, reason).await?;
                // When another version began to serve during the delivery, stranded messages were tried again without
                // this one.
                if self.worker.version() != version {
                    self.queue.retry_stranded(message.key.target.clone()).await?;
                    self.queue.arrivals(&message.key.target).notify_one();
                }
                Ok(())
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::deliver::tests::pool;
    use crate::durable::message::{NewMessage, Published};
    use crate::test_log::Log;
    use rusqlite::Connection;
    use souk_runtime::{VersionConfig, VersionId};

    /// Stores a message that the function of the worker does not take.
    async fn store(queue: &FileQueue, worker: &DeliveryWorker) -> String {
        let message = NewMessage {
            key: worker.keys().remove(0),
            caller: "caller".into(),
            trace: "trace".into(),
            traceparent: None,
            hops: 1,
            due: None,
            digest: "of another type".into(),
            arguments: r#"{"n":1}"#.to_owned(),
        };
        let Published::Stored(id) = queue.publish(message).await.unwrap() else { panic!("it is not stored") };
        id
    }

    #[tokio::test]
    async fn a_message_is_logged_as_set_aside_only_once_the_queue_has_recorded_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let queue = FileQueue::open(&path, 64 << 20).unwrap();
        let pool = pool("string");
        let worker = DeliveryWorker::of(&pool, pool.limits()).unwrap();
        let id = store(&queue, &worker).await;
        let message = queue.take("target".into(), 1, |_| 0).await.unwrap().messages.remove(0);
        let runner = Runner { queue: queue.clone(), worker, log_throttle: LogThrottle::default() };
        let version = runner.worker.version();
        for (line, state, outcome) in [
            ("stays: no reason", "stranded", DeliveryOutcome::Stranded("no reason".to_owned())),
            ("DEAD LETTER", "dead", DeliveryOutcome::DeadLetter("no reason".to_owned())),
        ] {
            let log = Log::capture();
            let other = Connection::open(&path).unwrap();
            other
                .execute_batch(
                    "UPDATE message SET state = 'delivering';
                     CREATE TRIGGER refused BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'refused'); END",
                )
                .unwrap();
            let refused = async {
                while log.count("deliveries wait, because the queue cannot be read or written") == 0 {
                    tokio::task::yield_now().await;
                }
            };
            let mut ending = std::pin::pin!(runner.end(&message, &outcome, version));
            tokio::select! {
                () = &mut ending => panic!("the outcome is recorded"),
                () = refused => {}
            }
            assert_eq!(log.count(line), 0, "it is not {state} yet");
            other.execute_batch("DROP TRIGGER refused").unwrap();
            ending.await;
            assert_eq!(log.count(line), 1);
            assert_eq!(queue.show(id.clone()).await.unwrap().unwrap().state, state);
            runner.log_throttle.recovered(|| {});
        }
    }

    #[tokio::test]
    async fn a_message_that_is_stranded_after_another_version_began_to_serve_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let queue = FileQueue::open(&folder.path().join("queue.db"), 64 << 20).unwrap();
        let pool = pool("string");
        let worker = DeliveryWorker::of(&pool, pool.limits()).unwrap();
        let id = store(&queue, &worker).await;
        let runner = Runner { queue: queue.clone(), worker, log_throttle: LogThrottle::default() };
        for (number, expected) in [(1, "stranded"), (2, "pending")] {
            queue.retry_stranded("target".into()).await.unwrap();
            let taken = queue.take("target".into(), 1, |_| 0).await.unwrap().messages;
            let [message] = taken.as_slice() else { panic!("{taken:?}") };
            let version = runner.worker.version();
            let outcome = runner.worker.deliver(message).await;
            assert!(matches!(outcome, DeliveryOutcome::Stranded(_)));
            if number > version {
                let id = VersionId { number, ..VersionId::first("", "") };
                let compiled = pool.active().compiled().clone();
                let next = VersionConfig { id, compiled, grants: pool.grants() };
                pool.promote(pool.prepare(next).await.map_err(|error| error.to_string()).unwrap());
                // The worker notices it before the delivery ends.
                queue.retry_stranded("target".into()).await.unwrap();
            }
            runner.end(message, &outcome, version).await;
            assert_eq!(queue.show(id.clone()).await.unwrap().unwrap().state, expected);
        }
    }
}
