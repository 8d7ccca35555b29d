//! A message that a worker was handed, and which attempt that is: the server counts how often it has handed it out, and the
//! message's note says how many of those were none.

use super::message::Stored;
use super::note::{Note, State};
use async_nats::{Message, Subject, jetstream};

/// How much too early a message may come, in milliseconds: the clocks of two hosts differ.
const EARLY: i64 = 1000;
/// The reason of a message that is handed out again without a word about the last time.
const INTERRUPTED: &str = "the host ended during the delivery";

/// A message that was handed out.
pub(super) struct Handed {
    pub(super) stored: Stored,
    /// Where its end is said.
    pub(super) reply: Subject,
    pub(super) sequence: u64,
    /// How often it was handed out, this time included.
    pub(super) times: u32,
    /// How many of those were no attempts.
    uncounted: u32,
    /// Whether there is a note about it.
    pub(super) noted: bool,
}

impl Handed {
    /// `None` for what is no message of JetStream.
    pub(super) fn read(message: Message, context: &jetstream::Context) -> Option<Self> {
        let message = jetstream::Message { message, context: context.clone() };
        let info = message.info().ok()?;
        let (sequence, times) = (info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX));
        let reply = message.reply.clone()?;
        let headers = message.headers.clone().unwrap_or_default();
        let stored = Stored::read(&message.subject, &headers, message.payload.clone());
        Some(Handed { stored, reply, sequence, times, uncounted: 0, noted: false })
    }

    /// Takes in what is `noted` of earlier times; why the last one ended. A message that was handed out more than twice had
    /// a note: where it is lost, so is the number of attempts, and they begin again.
    pub(super) fn recall(&mut self, note: Option<Note>) -> Option<String> {
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

    /// A note that this was no attempt.
    pub(super) fn given_back(&self, state: State, reason: Option<String>, due: i64) -> Note {
        Note {
            attempts: self.attempt().saturating_sub(1),
            uncounted: self.uncounted.saturating_add(1),
            ..self.note(state, reason, Some(due))
        }
    }
}

/// How a message waits and until when, if that is not yet over at `now`. Nobody makes one wait for more than `longest`: a
/// note that says so was written by a host whose clock is wrong.
pub(super) fn early(note: &Note, now: i64, longest: i64) -> Option<(State, i64)> {
    let due = note.due.filter(|due| (EARLY + 1..=longest.saturating_add(EARLY)).contains(&due.saturating_sub(now)))?;
    matches!(note.state, State::Waiting | State::Stranded).then_some((note.state, due))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::queue::{Key, NewMessage};

    fn handed(times: u32) -> Handed {
        let key = Key { target: "target".into(), interface: "n:p/i@1.0.0".into(), function: "f".into() };
        let message = NewMessage { key, caller: "caller".into(), trace: "t".into(), hops: 1, arguments: String::new() };
        let stored = Stored::new("id".to_owned(), message);
        Handed { stored, reply: "r".into(), sequence: 1, times, uncounted: 0, noted: false }
    }

    #[test]
    fn a_message_that_waits_comes_early_and_one_that_a_dead_host_had_does_not() {
        let note = |state, due| Note { state, due: Some(due), ..Note::default() };
        for state in [State::Waiting, State::Stranded] {
            assert_eq!(early(&note(state, 60_000), 0, 60_000), Some((state, 60_000)));
            assert_eq!(early(&note(state, 60_000), 0, 50_000), None);
            assert_eq!(early(&note(state, 60_000), 59_500, 60_000), None);
        }
        for state in [State::Held, State::Delivering] {
            assert_eq!(early(&note(state, 60_000), 0, 60_000), None);
        }
        assert_eq!(early(&Note::default(), 0, 60_000), None);
    }

    #[test]
    fn what_was_given_back_is_no_attempt_and_what_its_host_did_not_live_to_note_is_one() {
        let mut again = handed(2);
        assert_eq!(again.recall(None).as_deref(), Some(INTERRUPTED));
        assert_eq!(again.attempt(), 2);
        let held = handed(1).given_back(State::Held, Some("overloaded".to_owned()), 0);
        assert_eq!((held.attempts, held.uncounted), (0, 1));
        let mut again = handed(2);
        assert_eq!(again.recall(Some(held)).as_deref(), Some("overloaded"));
        assert_eq!(again.attempt(), 1);
        let mut third = handed(3);
        third.recall(Some(again.note(State::Delivering, None, None)));
        assert_eq!(third.attempt(), 2);
    }

    /// A message of a function that is not there is handed out each minute, for days.
    #[test]
    fn a_note_that_is_lost_uses_up_no_attempts() {
        let mut often = handed(5000);
        often.recall(None);
        assert_eq!(often.attempt(), 2);
        assert_eq!(often.note(State::Delivering, None, None).uncounted, 4998);
    }
}
