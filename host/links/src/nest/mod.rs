//! The bridge to a NestJS system (`@nestjs/microservices` with its NATS transport), so that its services can be replaced
//! one at a time.
//!
//! Two directions, one table each in the manifest, from a pattern to a function of a contract:
//!
//! | table | who calls | who answers |
//! |---|---|---|
//! | `serves` | a Nest client | a component's export ([`bridge`], [`serve`]) |
//! | `calls` | a component's import | a Nest service ([`call`]) |
//!
//! A packet ([`packet`]) becomes a call by the codec ([`function`]): `data` holds the parameters by name, or is the only
//! one; the result's `ok` is the response, without the members that the system does not know ([`leave_out`]); its error is
//! looked up in the table of errors ([`errors`]). Where a contract
//! and the Nest system differ in more than that, an adapter stands between them: a component that exports or imports
//! `nest:microservices` (`wit/nest`), whose functions take and give JSON. That is the one rule for all that tables
//! could not say: there is no language of templates here.
//!
//! A function that returns `result<_, variant { retry(string), reject(string) }>` is for events. A component's is stored
//! in the queue of durable links before anything else happens, so an event that is stored is not lost; one that cannot
//! be stored is held and tried again, until the host stops or holds too much ([`bridge`]). A Nest service's gets the
//! message and answers nothing; when none listens, the sender is told `retry` ([`call`]).
//!
//! Refused at start-up: a function that is not there, a contract's error that is in no table, an import of which a
//! function has no pattern, patterns without NATS. What a stranger sends is answered with an error in Nest's shape; what
//! cannot be answered is in the log.

mod bridge;
mod call;
mod errors;
mod function;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod leave_out;
mod packet;
mod second;
mod serve;

pub use bridge::Bridge;
pub use call::{Caller, link};
pub use serve::{Service, has_events};

use super::LinkError;
use souk_manifest::limits::FixedLimit;

souk_manifest::fixed_limits! {
    /// The fixed limits of messages.
    pub(crate) const FIXED_LIMITS = "nest";

    /// The longest packet. NATS has its own bound, of 1 MiB where nobody has changed it.
    pub const MAX_PACKET_BYTES: usize = 1 << 20, bytes;
    /// The most memory that the payloads of the requests of a host hold together; its events may hold as much again.
    pub const MAX_HELD_KIB: usize = 64 * 1024, KiB;
    /// The most events that a host stores at one time; others wait for their turn.
    pub const MAX_CONCURRENT_STORES: usize = 64, "events";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, second::FIXED_LIMITS, serve::FIXED_LIMITS].concat()
}

/// A table of patterns that does not fit the component.
#[derive(Debug)]
pub struct NestError {
    /// The line of the pattern, or of what needs one.
    pub line: usize,
    /// What is wrong, and the fix.
    pub error: LinkError,
}
