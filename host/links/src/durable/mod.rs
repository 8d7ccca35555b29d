//! Durable links: a call that is stored first and made later, again and again if it must be.
//!
//! The caller's call becomes a message: its arguments as JSON ([`souk_codec`]) in a queue on disk. The caller
//! is answered `ok` once the message is stored, whether or not the target runs, and whatever becomes of the caller after
//! that. Deliveries then call the target until it answers for good:
//!
//! | the target | the message |
//! |---|---|
//! | answers `ok` | is deleted |
//! | answers `retry(text)`, traps, is late or cannot be started | waits: exponential back-off with jitter |
//! | is overloaded | waits too, and no attempt is counted: nothing was started |
//! | answers `reject(text)`, or has used up its attempts | is a dead letter: it stays, with the reason, until an operator retries or drops it (`souk events`), and the log says so as an error |
//! | is not there any more, lacks the function, or takes arguments of another type that these do not fit | stays, as `stranded`; a later version that takes it has it delivered |
//!
//! **What is promised.** At least once: no message that was acknowledged is lost, and one may be delivered twice (a
//! host that dies between the target's answer and its note of it has no other choice), so the target must know a
//! message that it has seen. No order: messages are delivered side by side, and one that waits is overtaken by later
//! ones. A caller that was told `retry` may find that its message was stored all the same.
//!
//! **Types change.** A message has the digest of the type that its arguments are of (one that release 0.1.0 has stored has
//! none). One of another type is delivered if its arguments fit the function as it is now. Otherwise it is `stranded`, which
//! costs it no attempt: on NATS another host may have the version that takes it, and a version that takes it may come.
//!
//! **The queue** is one of two ([`queue`]):
//!
//! - A host that is alone has a [`file`](mod@file), and stored means on its disk (fsync).
//! - Hosts that share an application over NATS have a stream of JetStream ([`jetstream`]), and stored means what the
//!   servers make of it. With `replicas = 3` more than half of three servers have written the message: it outlives the
//!   death of any one of them, and a loss of power at one. By default JetStream syncs its files only every two minutes,
//!   so a loss of power at all of them at one time, or at the only one, takes the last two minutes: set
//!   `sync_interval: always` in the `jetstream` block of every server (nats-server 2.10 and newer), and a message that was
//!   acknowledged is on their disks. Then each message costs an fsync at each of them.
//!
//! **The contract.** Every function returns `result<_, E>`, where E is a variant of exactly `retry(string)` and
//! `reject(string)` ([`contract`]). The caller sees both too: `retry` while messages cannot be stored (full, the disk is,
//! or NATS is away), `reject` for one that can never be stored (larger than [`MAX_ARGUMENTS_BYTES`], or than
//! `max_payload` of the NATS servers).
//!
//! **Bounds.** What is stored, by the limit `durable_bytes`; a message, by [`MAX_ARGUMENTS_BYTES`]; deliveries at one time,
//! attempts and pauses, by the target's limits. A full queue can always be emptied, and takes messages again as soon as
//! there is room.

mod backoff;
mod contract;
mod delay;
mod deliver;
mod file;
mod jetstream;
mod link;
mod log_throttle;
pub mod operator;
mod queue;
mod schedule;
mod watch;

pub(crate) use contract::{is_delivery, reject};
pub use deliver::Deliveries;
pub use file::FileQueue;
pub use jetstream::{JetStreamError, JetStreamQueue};
pub use link::link;
pub(crate) use log_throttle::LogThrottle;
pub(crate) use queue::{Key, NewMessage, Published};
pub use queue::{Queue, QueueError, Stats};
pub use schedule::{ScheduleError, Scheduled};

use souk_manifest::limits::FixedLimit;
use souk_runtime::Exported;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of messages.
    pub(crate) const FIXED_LIMITS = "durable";

    /// The longest arguments, as JSON, of one message: the host holds them in memory while it stores and delivers them.
    pub const MAX_ARGUMENTS_BYTES: usize = 1 << 20, bytes;
    /// The most that is kept of the reason why a delivery failed.
    const MAX_REASON_BYTES: usize = 1024, bytes;
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        [FIXED_LIMITS, deliver::FIXED_LIMITS, watch::FIXED_LIMITS, operator::FIXED_LIMITS, log_throttle::FIXED_LIMITS]
            .concat(),
        schedule::fixed_limits(),
        file::fixed_limits(),
        jetstream::fixed_limits(),
    ]
    .concat()
}

/// Whether messages can be for a component that exports this.
pub fn receives(exported: &Exported) -> bool {
    exported.functions.iter().any(|function| is_delivery(&function.ty))
}

/// Milliseconds since 1970, as the queue counts time: its times must mean the same to the next process.
fn now() -> i64 {
    millis(souk_manifest::clock::since_epoch())
}

/// A duration in the unit in which messages say when they are due.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
