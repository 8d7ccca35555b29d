//! Messages that a server has found again: they lie in the stream, and no consumer hands them out.
//!
//! JetStream syncs what it deletes later than what it stores. A server that is killed may therefore come back with
//! messages whose end its consumer remembers: nobody would ever ask for them, and they would take up room for good.
//!
//! One is found by its standing still: it was handed out, it does not wait for a time that is noted, and for longer than
//! a delivery may take nothing new was noted of it. It is sent anew, not deleted: the consumer may also have forgotten that
//! it was not ended, and a message that was delivered is known to its target.

use super::message::Stored;
use super::note::State;
use super::operator::{one, read};
use super::{ACK_WAIT, JetStreamQueue, failed};
use crate::links::durable::now;
use crate::links::durable::queue::QueueError;
use crate::nats::subject;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(15);
/// The most messages that are looked at, the oldest.
const MOST: usize = 1000;

/// Messages that stand still, by their sequence: with how many attempts, and since when.
type Still = BTreeMap<u64, (u32, Instant)>;

/// Looks after the messages of `component`, whose calls take up to `deadline`, until `stop`.
pub(super) async fn run(queue: JetStreamQueue, component: Arc<str>, deadline: Duration, stop: CancellationToken) {
    let (mut tick, mut still) = (tokio::time::interval(PERIOD), Still::new());
    let patience = deadline + 2 * ACK_WAIT;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match queue.sweep(&component, patience, &mut still).await {
            Ok(0) => {}
            Ok(found) => tracing::info!(
                component = %component,
                "{found} messages that NATS had lost sight of are delivered again"
            ),
            // Deliveries complain of what is wrong.
            Err(error) => tracing::debug!(component = %component, "{error}"),
        }
    }
}

impl JetStreamQueue {
    /// Sends those messages of `component` anew that have stood still for longer than `patience`. Returns how many.
    async fn sweep(&self, component: &str, patience: Duration, still: &mut Still) -> Result<usize, QueueError> {
        let durable = &self.shared.durable;
        let info = durable.consumer_info(subject::token(component)).await.map_err(failed)?;
        let reached = info.delivered.stream_sequence;
        let (all, mut from, mut found) = (self.shared.nats.subjects().durable_of(component), 1, 0);
        let before = std::mem::take(still);
        let late = now().saturating_sub(i64::try_from(ACK_WAIT.as_millis()).unwrap_or(i64::MAX));
        for _ in 0..MOST {
            let Some(message) = one(durable.get_first_raw_message_by_subject(&all, from).await)? else { break };
            if message.sequence > reached {
                break;
            }
            let (stored, sequence) = read(message);
            from = sequence + 1;
            let note = self.shared.notes.get(&stored.id).await?.unwrap_or_default();
            if note.state != State::Delivering && note.due.is_some_and(|due| due > late) {
                continue;
            }
            let (attempts, since) = match before.get(&sequence) {
                Some(same) if same.0 == note.attempts => *same,
                _ => (note.attempts, Instant::now()),
            };
            if since.elapsed() <= patience {
                still.insert(sequence, (attempts, since));
                continue;
            }
            // Another host looks too; the stream takes it once.
            let message_id = format!("{}.{sequence}", stored.id);
            let anew = Stored { attempts: note.attempts.max(stored.attempts), reason: note.reason, ..stored };
            self.send_anew(anew, &message_id).await?;
            self.delete(durable, sequence).await?;
            found += 1;
        }
        Ok(found)
    }
}
