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
use super::{ACK_WAIT, JetStreamQueue, MAX_ACK_PENDING, failed};
use crate::durable::LogThrottle;
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
    /// The most messages that one sweep checks; the next one goes on after them.
    const MAX_SWEPT_MESSAGES: usize = 1000, "messages";
    /// With so many messages of one component that wait or are being delivered, the log warns: new ones soon wait
    /// behind them.
    const WARNED_ACK_PENDING: usize = 52_428, "messages";
}

/// What is known of a message's delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryState {
    /// According to the consumer it has ended.
    Ended,
    /// It may be in progress, with this many attempts, and deliveries that were none.
    Attempts(u32, u32),
}

/// What the sweeps of a component know.
#[derive(Default)]
pub(super) struct Stalled {
    /// Messages that may have to be sent again, by their sequence: the state of each, and since when it has been in
    /// that state.
    known: BTreeMap<u64, (DeliveryState, Instant)>,
    /// Where the next sweep that checks all messages begins: there may be more messages that wait for a due time than
    /// one sweep checks.
    next: u64,
    /// Warns of too many messages that have not ended.
    log_throttle: LogThrottle,
}

impl Stalled {
    /// The messages from `from` to before `to` are gone.
    fn forget(&mut self, from: u64, to: u64) {
        let range = from..to.max(from);
        while let Some(sequence) = self.known.range(range.clone()).next().map(|(sequence, _)| *sequence) {
            self.known.remove(&sequence);
        }
    }
}

/// Sweeps the messages of `component`, whose calls take up to `deadline`, until `stop`.
pub(super) async fn run(queue: JetStreamQueue, component: Arc<str>, deadline: Duration, stop: CancellationToken) {
    let (mut tick, mut stalled) = (tokio::time::interval(SWEEP_INTERVAL), Stalled::default());
    let stalled_after = deadline + 2 * ACK_WAIT;
    for sweep in 0u32.. {
        if stop.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        let stalled_after = sweep.is_multiple_of(FULL_SWEEP_EVERY).then_some(stalled_after);
        match queue.sweep(&component, stalled_after, &mut stalled, MAX_SWEPT_MESSAGES).await {
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
    /// `stalled_after` also those that have stalled for longer than that. Checks up to `most` messages; returns how
    /// many it has sent.
    pub(super) async fn sweep(
        &self,
        component: &str,
        stalled_after: Option<Duration>,
        stalled: &mut Stalled,
        most: usize,
    ) -> Result<usize, QueueError> {
        let durable = &self.shared.durable;
        let info = durable.consumer_info(subject::token(component)).await.map_err(failed)?;
        if info.num_ack_pending >= WARNED_ACK_PENDING {
            stalled.log_throttle.failed(|_| {
                tracing::warn!(
                    component = %component,
                    "{} messages wait for another attempt or are being delivered, and from {MAX_ACK_PENDING} on all \
                     others wait behind them; fix: `souk events list` shows what waits; repair its target, or drop messages",
                    info.num_ack_pending
                );
            });
        }
        let ended = info.ack_floor.stream_sequence;
        let last = if stalled_after.is_some() { info.delivered.stream_sequence } else { ended };
        let (all, mut resent) = (self.shared.nats.subjects().durable_of(component), 0);
        // Messages that have ended are deleted, so a sweep of these alone gets on from the beginning.
        let mut from = if stalled_after.is_some() { stalled.next.max(1) } else { 1 };
        let mut at_end = false;
        for _ in 0..most {
            let found = one(durable.get_first_raw_message_by_subject(&all, from).await)?;
            let Some(message) = found.filter(|message| message.sequence <= last) else {
                stalled.forget(from, last.saturating_add(1));
                at_end = true;
                break;
            };
            let (stored, sequence) = read(message);
            stalled.forget(from, sequence);
            from = sequence + 1;
            let note = self.shared.notes.get(&stored.id).await?.unwrap_or_default();
            let state = if sequence <= ended {
                DeliveryState::Ended
            } else if stored.waits_until(overdue_before()).is_some()
                || note.state != State::Delivering && note.due.is_some_and(|due| due > overdue_before())
            {
                stalled.known.remove(&sequence);
                continue;
            } else {
                DeliveryState::Attempts(note.attempts, note.uncounted)
            };
            let since = stalled.known.get(&sequence).filter(|(before, _)| *before == state).map(|(_, since)| *since);
            let is_stalled = since.is_some_and(|since| match state {
                DeliveryState::Ended => true,
                DeliveryState::Attempts(..) => stalled_after.is_some_and(|limit| since.elapsed() > limit),
            });
            if !is_stalled {
                stalled.known.insert(sequence, (state, since.unwrap_or_else(Instant::now)));
                continue;
            }
            // Another host may send it too; the stream stores it once.
            let message_id = format!("{}.{sequence}", stored.id);
            let copy = Stored { attempts: note.attempts.max(stored.attempts), reason: note.reason, ..stored };
            self.resend(copy, &message_id, false).await?;
            self.delete(durable, sequence).await?;
            stalled.known.remove(&sequence);
            resent += 1;
        }
        if stalled_after.is_some() {
            stalled.next = if at_end { 1 } else { from };
        }
        Ok(resent)
    }
}

/// The time, in milliseconds since 1970, before which a message must have been due to count as overdue.
fn overdue_before() -> i64 {
    now().saturating_sub(i64::try_from(ACK_WAIT.as_millis()).unwrap_or(i64::MAX))
}
