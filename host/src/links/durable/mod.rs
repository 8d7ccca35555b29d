//! Durable links: a call that is stored first and made later, again and again if it must be.
//!
//! The caller's call becomes a message: its arguments as JSON ([`codec`](super::codec)) in a queue on disk. The caller
//! is answered `ok` once the message is on disk (fsync), whether or not the target runs, and whatever becomes of the
//! caller after that. Deliveries then call the target until it answers for good:
//!
//! | the target | the message |
//! |---|---|
//! | answers `ok` | is deleted |
//! | answers `retry(text)`, traps, is late or cannot be started | waits: exponential back-off with jitter |
//! | is overloaded | waits too, and no attempt is counted: nothing was started |
//! | answers `reject(text)`, or has used up its attempts | is a dead letter: it stays, with the reason, until an operator retries or drops it (`souk events`), and the log says so as an error |
//! | is not there any more, or lacks the function | stays, as `stranded`; a later start with the function delivers it |
//!
//! **What is promised.** At least once: no message that was acknowledged is lost, and one may be delivered twice (a
//! host that dies between the target's answer and its note of it has no other choice), so the target must know a
//! message that it has seen. No order: messages are delivered side by side, and one that waits is overtaken by later
//! ones.
//!
//! **The contract.** Every function returns `result<_, E>`, where E is a variant of exactly `retry(string)` and
//! `reject(string)` ([`contract`]). The caller sees both too: `retry` while messages cannot be stored (full, or the
//! disk is), `reject` for one that can never be stored (larger than [`MAX_ARGUMENTS`]).
//!
//! **The disk.** One SQLite file, written by one thread that puts all who wait at one time into one transaction
//! ([`commit`]): a durable call costs a share of one fsync. What deliveries note (an attempt before it begins, the
//! end of a message) is written but not synced: it outlives a host that dies, and when a machine loses its power, a
//! message is delivered once more, which it may be anyway. The attempt is noted before the call, so that a message that
//! kills the host runs out of attempts.
//!
//! **Bounds.** What is stored, by the limit `durable_bytes`; a message, by [`MAX_ARGUMENTS`]; deliveries at one time,
//! attempts and pauses, by the target's limits. Noting and deleting work when the queue is full, so it can always be
//! emptied, and takes messages again as soon as there is room.
//! When the disk itself is full, notes and deletions may fail too: deliveries then keep what they have to note and try
//! again each second, and everything goes on by itself once the disk has room.

mod backoff;
mod commit;
mod complaint;
mod contract;
mod deliver;
mod link;
pub mod operator;
mod queue;
mod statements;
mod watch;

#[cfg(test)]
mod queue_tests;

pub use deliver::Deliveries;
pub use link::link;
pub use queue::{Queue, QueueError};

use std::time::{SystemTime, UNIX_EPOCH};

/// The most bytes of arguments, as JSON, that one message may have: they are held in memory while they are stored and
/// delivered.
pub const MAX_ARGUMENTS: usize = 1 << 20;
/// The most bytes of a reason that are kept.
const MAX_REASON: usize = 1024;

/// What mends a queue that fails.
const FAILED: &str = "make the state folder writable, with room on its disk";

/// The bounds that no manifest changes: what, how much, unit. `souk doctor` prints them.
pub fn fixed_limits() -> Vec<(&'static str, u64, &'static str)> {
    let n = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    vec![("durable: a message", n(MAX_ARGUMENTS), "bytes"), ("durable: a reason", n(MAX_REASON), "bytes")]
}

/// Milliseconds since 1970, as the queue counts time: its times must mean the same to the next process.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
