//! Messages that a server has found again: they lie in the stream, and no consumer hands them out.
//!
//! JetStream syncs what it deletes later than what it stores. A server that is killed may therefore come back with
//! messages whose end its consumer remembers: nobody would ever ask for them, and they would take up room for good. They
//! are sent anew, not deleted: the consumer may also have forgotten that one was not ended, and a message that was
//! delivered is known to its target.

use super::operator::{one, read};
use super::{JetStreamQueue, failed};
use crate::links::durable::queue::QueueError;
use crate::nats::subject;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked, and how long an end may take to become a deletion.
const PERIOD: Duration = Duration::from_secs(15);

/// Looks after the messages of `component` until `stop`.
pub(super) async fn run(queue: JetStreamQueue, component: Arc<str>, stop: CancellationToken) {
    let (mut tick, mut ended) = (tokio::time::interval(PERIOD), 0);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match queue.sweep(&component, ended).await {
            Ok((floor, found)) => {
                ended = floor;
                if found > 0 {
                    tracing::info!(
                        component = %component,
                        "{found} messages that NATS had lost sight of are delivered again"
                    );
                }
            }
            // Deliveries complain of what is wrong.
            Err(error) => tracing::debug!(component = %component, "{error}"),
        }
    }
}

impl JetStreamQueue {
    /// Sends those messages of `component` anew that had ended, up to sequence `ended`, and are there nevertheless.
    /// Returns up to where they have ended now, and how many were sent.
    async fn sweep(&self, component: &str, ended: u64) -> Result<(u64, usize), QueueError> {
        let durable = &self.shared.durable;
        let info = durable.consumer_info(subject::token(component)).await.map_err(failed)?;
        let floor = info.ack_floor.stream_sequence;
        let (all, mut from, mut found) = (self.shared.nats.subjects().durable_of(component), 1, 0);
        while let Some(message) = one(durable.get_first_raw_message_by_subject(&all, from).await)?
            && message.sequence <= ended.min(floor)
        {
            let (stored, sequence) = read(message);
            // Another host looks too; the stream takes it once.
            let message_id = format!("{}.{sequence}", stored.id);
            self.send_anew(stored, &message_id).await?;
            self.delete(durable, sequence).await?;
            (from, found) = (sequence + 1, found + 1);
        }
        Ok((floor, found))
    }
}
