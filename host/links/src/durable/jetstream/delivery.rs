//! One delivery of a message by the server, and which attempt it is: the server counts how often it delivers a message,
//! and the message's note says how many of those deliveries were no attempts.

use super::message::Stored;
use super::note::{Note, State};
use async_nats::{Message, Subject, jetstream};

souk_manifest::fixed_limits! {
    /// The fixed limits of the clocks of hosts.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// How far the clocks of two hosts may differ: a message may be delivered this much before it is due.
    const MAX_CLOCK_SKEW_MS: i64 = 1000, milliseconds;
}

/// The reason of a message that is delivered again without a note about the last attempt.
const INTERRUPTED: &str = "the host ended during the delivery";

/// A message that the server has delivered to this host.
pub(super) struct Delivery {
    pub(super) stored: Stored,
    /// The subject on which the delivery is acknowledged.
    pub(super) reply: Subject,
    pub(super) sequence: u64,
    /// How often the server has delivered it, including this time.
    pub(super) times: u32,
    /// How many of those deliveries were no attempts.
    uncounted: u32,
    /// Whether there is a note about it.
    pub(super) noted: bool,
}

impl Delivery {
    /// `None` if it is not a message from JetStream.
    pub(super) fn read(message: Message, context: &jetstream::Context) -> Option<Self> {
        let message = jetstream::Message { message, context: context.clone() };
        let info = message.info().ok()?;
        let (sequence, times) = (info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX));
        let reply = message.reply.clone()?;
        let headers = message.headers.clone().unwrap_or_default();
        let stored = Stored::read(&message.subject, &headers, message.payload.clone());
        Some(Delivery { stored, reply, sequence, times, uncounted: 0, noted: false })
    }

    /// Applies the `note` of earlier deliveries, and returns why the last one ended. The host writes a note from the second
    /// delivery on. If a message that was delivered more than twice has none, its note is lost, and only the last two
    /// deliveries count as attempts.
    pub(super) fn apply_note(&mut self, note: Option<Note>) -> Option<String> {
        self.noted = note.is_some();
        self.uncounted = note.as_ref().map_or(self.times.saturating_sub(2), |note| note.uncounted);
        let ended = note.filter(|note| note.state != State::Delivering);
        ended.map_or_else(|| Some(INTERRUPTED.to_owned()), |note| note.reason)
    }

    /// The number of this attempt, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.stored.attempts.saturating_add(self.times.saturating_sub(self.uncounted).max(1))
    }

    pub(super) fn note(&self, state: State, reason: Option<String>, due: Option<i64>) -> Note {
        Note { state, attempts: self.attempt(), uncounted: self.uncounted, reason, due }
    }

    /// The note that this delivery does not count as an attempt.
    pub(super) fn uncounted_note(&self, state: State, reason: Option<String>, due: i64) -> Note {
        Note {
            attempts: self.attempt().saturating_sub(1),
            uncounted: self.uncounted.saturating_add(1),
            ..self.note(state, reason, Some(due))
        }
    }
}

/// The state and the due time of a message that came before it was due. No message waits for more than `longest`: a
/// note that says so was written by a host whose clock is wrong.
pub(super) fn premature(note: &Note, now: i64, longest: i64) -> Option<(State, i64)> {
    let due = note.due.filter(|due| {
        (MAX_CLOCK_SKEW_MS + 1..=longest.saturating_add(MAX_CLOCK_SKEW_MS)).contains(&due.saturating_sub(now))
    })?;
    matches!(note.state, State::Waiting | State::Stranded).then_some((note.state, due))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::message::{Key, NewMessage};

    fn delivery(times: u32) -> Delivery {
        let key = Key { target: "target".into(), interface: "n:p/i@1.0.0".into(), function: "f".into() };
        let message = NewMessage {
            key,
            caller: "caller".into(),
            trace: "t".into(),
            traceparent: None,
            hops: 1,
            due: None,
            digest: "d".into(),
            arguments: String::new(),
        };
        let stored = Stored::new("id".to_owned(), message);
        Delivery { stored, reply: "r".into(), sequence: 1, times, uncounted: 0, noted: false }
    }

    #[test]
    fn a_waiting_message_can_be_premature_and_one_of_a_dead_host_cannot() {
        let note = |state, due| Note { state, due: Some(due), ..Note::default() };
        for state in [State::Waiting, State::Stranded] {
            assert_eq!(premature(&note(state, 60_000), 0, 60_000), Some((state, 60_000)));
            assert_eq!(premature(&note(state, 60_000), 0, 50_000), None);
            assert_eq!(premature(&note(state, 60_000), 59_500, 60_000), None);
        }
        for state in [State::Held, State::Delivering] {
            assert_eq!(premature(&note(state, 60_000), 0, 60_000), None);
        }
        assert_eq!(premature(&Note::default(), 0, 60_000), None);
    }

    #[test]
    fn a_delivery_that_was_given_back_is_no_attempt_and_one_whose_host_died_is_one() {
        let mut again = delivery(2);
        assert_eq!(again.apply_note(None).as_deref(), Some(INTERRUPTED));
        assert_eq!(again.attempt(), 2);
        let held = delivery(1).uncounted_note(State::Held, Some("overloaded".to_owned()), 0);
        assert_eq!((held.attempts, held.uncounted), (0, 1));
        let mut again = delivery(2);
        assert_eq!(again.apply_note(Some(held)).as_deref(), Some("overloaded"));
        assert_eq!(again.attempt(), 1);
        let mut third = delivery(3);
        third.apply_note(Some(again.note(State::Delivering, None, None)));
        assert_eq!(third.attempt(), 2);
    }

    /// A message whose function does not exist is delivered each minute, for days.
    #[test]
    fn a_note_that_is_lost_uses_up_no_attempts() {
        let mut often = delivery(5000);
        often.apply_note(None);
        assert_eq!(often.attempt(), 2);
        assert_eq!(often.note(State::Delivering, None, None).uncounted, 4998);
    }
}
