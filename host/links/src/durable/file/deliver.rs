//! Deliveries from the file: a lane takes as many messages as it may deliver at one time, and sleeps until one arrives or
//! is due. Where the queue fails it tries again each second, and so does a delivery that cannot note its end: what it did
//! is forgotten only with the process.

use super::FileQueue;
use crate::durable::complaint::Complaint;
use crate::durable::deliver::{AGAIN, End, Lane};
use crate::durable::now;
use crate::durable::queue::{Key, Message, QueueError};
use souk_manifest::limits::millis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest sleep of a lane: the clock may have been set meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

/// Starts the `lanes` in `tasks`, until `stop`.
pub(in crate::durable) async fn start(
    queue: &FileQueue,
    lanes: Vec<Lane>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let known = lanes.iter().flat_map(|lane| lane.keys().cloned()).collect();
    for (Key { target, interface, function }, count) in queue.strand_unknown(known).await? {
        tracing::warn!(
            "{count} stored messages are for `{interface}#{function}` of component `{target}`, which is not there: they \
             stay; fix: bring it back, or drop them (`souk events list`)"
        );
    }
    for lane in lanes {
        let runner = Runner { queue: queue.clone(), lane, complaint: Complaint::default() };
        tasks.spawn(Arc::new(runner).run(tasks.clone(), stop.clone()));
    }
    Ok(())
}

/// A lane with its queue.
struct Runner {
    queue: FileQueue,
    lane: Lane,
    complaint: Complaint,
}

impl Runner {
    async fn run(self: Arc<Self>, tasks: TaskTracker, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.lane.deliveries()));
        let component = self.lane.pool.component();
        let arrivals = self.queue.arrivals(component);
        while let Some(Ok(slot)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
            let mut free = vec![slot];
            while let Ok(slot) = slots.clone().try_acquire_owned() {
                free.push(slot);
            }
            let (asked, backoff) = (free.len(), self.lane.backoff);
            let taken = self.queue.take(component.clone(), asked, move |attempt| backoff.pause(attempt)).await;
            let sleep = match taken {
                Ok(taken) => {
                    self.complaint.ended(|| tracing::info!(component = %component, "deliveries go on"));
                    let found = taken.messages.len();
                    for (message, slot) in taken.messages.into_iter().zip(free) {
                        let runner = self.clone();
                        tasks.spawn(async move {
                            runner.deliver(&message).await;
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
        let end = self.lane.deliver(message).await;
        while let Err(error) = self.note(message, &end).await {
            self.complain(&error);
            if matches!(error, QueueError::Stopped) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn note(&self, message: &Message, end: &End) -> Result<(), QueueError> {
        match end {
            End::Delivered => self.queue.ack(message).await,
            End::Later { reason, uncounted } => {
                let pause = self.lane.backoff.pause(message.attempt);
                self.queue.retry_later(message, reason, pause, *uncounted).await
            }
            End::Dead(reason) => self.queue.park(message, reason).await,
            End::Stranded => self.queue.strand(message, "its function is not there").await,
        }
    }

    fn complain(&self, error: &QueueError) {
        self.complaint.happened(|_| {
            tracing::error!(
                component = %self.lane.pool.component(),
                "deliveries wait, because nothing can be noted: {error}; fix: {}",
                error.fix()
            );
        });
    }
}
