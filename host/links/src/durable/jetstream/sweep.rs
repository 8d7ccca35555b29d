//! Finds messages that are in the stream although their consumer does not deliver them any more, and sends them again.
//!
//! JetStream syncs deletions later than insertions. So a server that is killed may come back with messages that its
//! consumer has recorded as ended: they would never be delivered, and would take up room for good.
//!
//! The sweep finds such a message in one of two ways. Either the consumer says that everything up to it has ended, and
//! it is still there at the next sweep. Or it has stalled: it was delivered, it is not waiting for a due time, and the
//! number of attempts in its note has not changed for longer than a delivery may take.
//!
//! The sweep sends the message again and does not delete it, because the consumer's record may be wrong. If it was
//! delivered after all, its target recognises it by its id.

use super::message::Stored;
use super::note::State;
use super::operator::{one, read};
use super::{ACK_WAIT, JetStreamQueue, failed};
use crate::durable::message::QueueError;
use crate::durable::now;
use souk_manifest::subject;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of the sweep.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// How often to look for messages whose deliveries have ended according to the server. Usually there are none.
    const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
    /// One of this many sweeps also checks messages that were delivered but not acknowledged.
    const FULL_SWEEP_EVERY: u32 = 3, "sweeps";
    /// The most messages that one sweep checks, beginning with the oldest.
    const MAX_SWEPT_MESSAGES: usize = 1000, "messages";
}

/// What is known of a message's delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryState {
    /// According to the consumer it has ended.
    Ended,
    /// It may be in progress, with this many attempts.
    Attempts(u32),
}

/// Messages that may have to be sent again, by their sequence: the state of each, and since when it has been in that
/// state.
pub(super) type Stalled = BTreeMap<u64, (DeliveryState, Instant)>;

/// Sweeps the messages of `component`, whose calls take up to `deadline`, until `stop`.
pub(super) async fn run(queue: JetStreamQueue, component: Arc<str>, deadline: Duration, stop: CancellationToken) {
    let (mut tick, mut stalled) = (tokio::time::interval(SWEEP_INTERVAL), Stalled::new());
    let stalled_after = deadline + 2 * ACK_WAIT;
    for sweep in 0u32.. {
        if stop.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        let stalled_after = sweep.is_multiple_of(FULL_SWEEP_EVERY).then_some(stalled_after);
        match queue.sweep(&component, stalled_after, &mut stalled).await {
            Ok(0) => {}
            Ok(resent) => tracing::info!(
                component = %component,
                "resent {resent} messages that the NATS consumer no longer delivered"
            ),
            // Deliveries log the same failure as an error.
            Err(error) => tracing::debug!(component = %component, "{error}"),
        }
    }
}

impl JetStreamQueue {
    /// Sends messages of `component` again: those that had already ended at the last sweep, and with
    /// `stalled_after` also those that have stalled for longer than that. Returns how many.
    pub(super) async fn sweep(
        &self,
        component: &str,
        stalled_after: Option<Duration>,
        stalled: &mut Stalled,
    ) -> Result<usize, QueueError> {
        let durable = &self.shared.durable;
        let info = durable.consumer_info(subject::token(component)).await.map_err(failed)?;
        let ended = info.ack_floor.stream_sequence;
        let last = if stalled_after.is_some() { info.delivered.stream_sequence } else { ended };
        let (all, mut from, mut resent) = (self.shared.nats.subjects().durable_of(component), 1, 0);
        let before = std::mem::take(stalled);
        // Messages that this sweep does not check stay as they are.
        stalled.extend(before.range(last.saturating_add(1)..));
        for _ in 0..MAX_SWEPT_MESSAGES {
            let Some(message) = one(durable.get_first_raw_message_by_subject(&all, from).await)? else { break };
            if message.sequence > last {
                break;
            }
            let (stored, sequence) = read(message);
            from = sequence + 1;
            let note = self.shared.notes.get(&stored.id).await?.unwrap_or_default();
            let state = if sequence <= ended {
                DeliveryState::Ended
            } else if stored.waits_until(overdue_before()).is_some()
                || note.state != State::Delivering && note.due.is_some_and(|due| due > overdue_before())
            {
                continue;
            } else {
                DeliveryState::Attempts(note.attempts)
            };
            let since = before.get(&sequence).filter(|(before, _)| *before == state).map(|(_, since)| *since);
            let is_stalled = since.is_some_and(|since| match state {
                DeliveryState::Ended => true,
                DeliveryState::Attempts(_) => stalled_after.is_some_and(|limit| since.elapsed() > limit),
            });
            if !is_stalled {
                stalled.insert(sequence, (state, since.unwrap_or_else(Instant::now)));
                continue;
            }
            // Another host may send it too; the stream stores it once.
            let message_id = format!("{}.{sequence}", stored.id);
            let copy = Stored { attempts: note.attempts.max(stored.attempts), reason: note.reason, ..stored };
            self.resend(copy, &message_id, false).await?;
            self.delete(durable, sequence).await?;
            resent += 1;
        }
        Ok(resent)
    }
}

/// The time, in milliseconds since 1970, before which a message must have been due to count as overdue.
fn overdue_before() -> i64 {
    now().saturating_sub(i64::try_from(ACK_WAIT.as_millis()).unwrap_or(i64::MAX))
}
