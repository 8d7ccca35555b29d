//! Durable links: a call is stored first and made later, repeatedly if necessary.
//!
//! The call becomes a message: its arguments as JSON ([`souk_codec`]) in a queue on disk. The caller gets `ok` once the
//! message is stored, whether or not the target runs. Deliveries then call the target until it accepts or rejects the
//! message:
//!
//! | the target | the message |
//! |---|---|
//! | answers `ok` | is deleted |
//! | answers `retry(text)`, traps, is late or cannot be started | waits for the next attempt: exponential back-off with jitter |
//! | is overloaded | waits too, but this does not count as an attempt: the target was not called |
//! | answers `reject(text)`, or has used up its attempts | is a dead letter: it stays, with the reason, until an operator retries or drops it (`souk events`), and the log says so as an error |
//! | is gone, lacks the function, or has another type now that the arguments do not fit | stays, as `stranded`, until a version can take it |
//!
//! **Guarantees.** Delivery is at least once: no acknowledged message is lost, but a message may be delivered twice
//! (when a host dies after the target's answer and before it has recorded that answer). So the target must recognise a
//! message that it has already handled. There is no order: messages are delivered in parallel, and later messages
//! overtake one that waits. When a caller got `retry`, its message may have been stored nevertheless.
//!
//! **Types change.** A message has the digest of the type of its arguments (a message of release 0.1.0 has none). A
//! message of another type is delivered if its arguments fit the current function. Otherwise it is `stranded`, which
//! uses up no attempt: with NATS, another host may have a version that takes it, and a later version may take it.
//!
//! **The queue** is one of two ([`queue`]):
//!
//! - A single host has a [`file`](mod@file), and stored means that the message is on its disk (fsync).
//! - Hosts that share an application over NATS have a JetStream stream ([`jetstream`]), and the servers' configuration
//!   decides what stored means. With `replicas = 3`, at least two of three servers have written the message: it survives
//!   the death, or a loss of power, of any one of them. By default JetStream syncs its files only every two minutes, so a
//!   loss of power at all servers at the same time, or at the only one, loses the messages of the last two minutes. With
//!   `sync_interval: always` in the `jetstream` block of every server (nats-server 2.10 and newer), every acknowledged
//!   message is on their disks, and each message costs an fsync at each server.
//!
//! **The contract.** Every function returns `result<_, E>`, where E is a variant of exactly `retry(string)` and
//! `reject(string)` ([`contract`]). The host also answers callers with both: `retry` while messages cannot be stored
//! (the queue or the disk is full, or NATS is away), `reject` for a message that can never be stored (larger than
//! [`MAX_ARGUMENTS_BYTES`], or than `max_payload` of the NATS servers).
//!
//! **Bounds.** The limit `durable_bytes` bounds the whole queue, [`MAX_ARGUMENTS_BYTES`] each message, and the target's
//! limits bound concurrent deliveries, attempts and pauses. A full queue can always be emptied, and accepts messages
//! again as soon as there is room.

mod backoff;
mod contract;
mod delay;
mod deliver;
mod event;
mod file;
mod jetstream;
mod link;
mod log_throttle;
mod message;
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
pub(crate) use message::{Key, NewMessage, Published};
pub use message::{QueueError, Stats};
pub use queue::Queue;
pub use schedule::{ScheduleError, Scheduled};

use souk_codec::signature::signature;
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

/// Whether a component with these exports can receive messages.
pub fn receives(exported: &Exported) -> bool {
    exported.functions.iter().any(|function| is_delivery(&function.ty))
}

/// Whether a function of `before` that can receive messages is not in `now`, or has another type there.
pub fn changes_deliveries(before: &Exported, now: &Exported) -> bool {
    let mut deliveries = before.functions.iter().filter(|function| is_delivery(&function.ty));
    deliveries.any(|function| {
        let now = now.function(&function.interface, &function.name);
        now.is_none_or(|now| signature("", &now.ty) != signature("", &function.ty))
    })
}

/// Now, in milliseconds since 1970: stored times must mean the same to the next process.
fn now() -> i64 {
    millis(souk_manifest::clock::since_epoch())
}

/// A duration in milliseconds, the unit of due times.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Engine;
    use wasmtime::component::Component;

    /// The exports of a component with `name`, which can receive messages, and `g`, which cannot.
    fn exported(name: &str, parameter: &str, of_g: &str) -> Exported {
        let core = |ty: &str| if ty == "u64" { "i64" } else { "i32" };
        let (of_f, core_g) = (core(parameter), core(of_g));
        let text = format!(
            r#"(component
                (type $e (variant (case "retry" string) (case "reject" string)))
                (type $result (result (error $e)))
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "f") (param {of_f}) (result i32) i32.const 16)
                    (func (export "g") (param {core_g}) (result i32) i32.const 16))
                (core instance $i (instantiate $m))
                (func $f (param "x" {parameter}) (result $result)
                    (canon lift (core func $i "f") (memory (core memory $i "memory"))))
                (func $g (param "x" {of_g}) (result u32) (canon lift (core func $i "g")))
                (instance $own (export "e" (type $e)) (export "{name}" (func $f)) (export "g" (func $g)))
                (export "test:durable/events@1.0.0" (instance $own)))"#
        );
        let engine = Engine::default();
        Exported::of(&engine, &Component::new(&engine, wat::parse_str(text).unwrap()).unwrap())
    }

    #[test]
    fn only_functions_that_receive_messages_change_deliveries() {
        let before = exported("f", "u32", "u32");
        assert!(!changes_deliveries(&before, &exported("f", "u32", "u32")));
        assert!(!changes_deliveries(&before, &exported("f", "u32", "u64")));
        assert!(changes_deliveries(&before, &exported("f", "u64", "u32")));
        assert!(changes_deliveries(&before, &exported("h", "u32", "u32")));
    }
}
