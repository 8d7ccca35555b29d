//! The bridge to a NestJS system (`@nestjs/microservices` with its NATS transport), so that its services can be
//! replaced one at a time.
//!
//! There are two directions. Each has a table in the manifest, which maps patterns to functions of contracts:
//!
//! | table | who calls | who answers |
//! |---|---|---|
//! | `serves` | a Nest client | a component's export ([`bridge`], [`serve`]) |
//! | `calls` | a component's import | a Nest service ([`call`]) |
//!
//! The codec turns a packet ([`packet`]) into a call ([`function`]). `data` holds the parameters by name, or is the
//! only parameter. The result's `ok` is the response, without the members that the Nest system does not know
//! ([`leave_out`]). The table of errors ([`errors`]) translates its error. If a contract and the Nest system differ in
//! more than that, an adapter stands between them: a component that exports or imports `nest:microservices`
//! (`wit/nest`), whose functions take and return JSON. An adapter does everything that tables cannot express, so there
//! is no template language.
//!
//! A function that returns `result<_, variant { retry(string), reject(string) }>` is for events. An event for a
//! component is first stored in the queue of durable links, and is not lost from then on. An event that cannot be
//! stored is held and tried again until the host stops; when the host holds too many, further events are lost
//! ([`bridge`]). An event for a Nest service is sent without an answer; when nobody subscribes to it, the sender gets
//! `retry` ([`call`]).
//!
//! Refused at start-up: a function that does not exist, a contract's error that is in no table, an imported function
//! without a pattern, and patterns without NATS. An invalid request gets an error in Nest's format; when no answer is
//! possible, the log has the error.

mod bridge;
mod call;
mod direction;
mod errors;
mod function;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod leave_out;
mod packet;
mod second_service;
mod serve;

pub use bridge::Bridge;
pub use call::{Caller, link};
pub use serve::{Service, has_events};

use super::LinkError;
use souk_manifest::limits::FixedLimit;

souk_manifest::fixed_limits! {
    /// The fixed limits of messages.
    pub(crate) const FIXED_LIMITS = "nest";

    /// The longest packet. NATS has its own bound, 1 MiB by default.
    pub const MAX_PACKET_BYTES: usize = 1 << 20, bytes;
    /// The most memory that the payloads of the requests of a host hold together; its events may hold as much again.
    pub const MAX_HELD_KIB: usize = 64 * 1024, KiB;
    /// The most events that a host stores at the same time; others wait for their turn.
    pub const MAX_CONCURRENT_STORES: usize = 64, "events";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, second_service::FIXED_LIMITS, serve::FIXED_LIMITS].concat()
}

/// A table of patterns that does not fit the component.
#[derive(Debug)]
pub struct NestError {
    /// The line of the pattern, or of what needs one.
    pub line: usize,
    /// What is wrong, and the fix.
    pub error: LinkError,
}
