//! Remote links: an import answered by a component on another host of the application, over NATS; and HTTP requests to
//! such components.
//!
//! A call is a request to a subject of the function that it is for, in the queue group of the component: NATS gives it
//! to one of the hosts that run it. What a caller sees is what it would see of a local link: the same values, the
//! contract's own error for a callee that is dead, late or overloaded, one deadline, one trace.
//!
//! | subject | who subscribes | payload |
//! |---|---|---|
//! | `souk.APP.call.COMPONENT.INTERFACE.FUNCTION.TYPE` | hosts that run the component, as a queue group | the parameters as JSON ([`souk_codec`]) |
//! | `souk.APP.http.COMPONENT` | the same | a head as one line of JSON, and the body ([`http`]) |
//! | one of these two and `.HOST` | that host alone, by the id that it has in `$SRV.PING` | the same ([`hosts`]) |
//! | `souk.APP.cancel.COMPONENT` | every host that runs it | the id of a call that nobody waits for any more |
//! | the reply subject | the caller's host alone ([`inbox`]) | the result as JSON, or a response |
//! | `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS` | every host ([`micro`]) | NATS's service API, for `nats micro`, `souk call` and hosts that start ([`peers`]) |
//!
//! | header of a call | meaning; without it |
//! |---|---|
//! | `Souk-Call` | the call's id, for `cancel`; it cannot be cancelled |
//! | `Souk-Timeout` | milliseconds that were left when it was sent; the component's `call_deadline` |
//! | `Souk-Deadline` | the same as milliseconds since 1970: a call is not started more than [`MAX_CLOCK_SKEW`] past it; it is |
//! | `Souk-Trace` | the trace id; a new one |
//! | `traceparent`, `tracestate` | the call's place in the trace of requests; none |
//! | `Souk-Hops` | links crossed so far, at most [`MAX_HOPS`](souk_bindings::call::MAX_HOPS); 1 |
//! | `Souk-Draw` | which version of each component the tree of calls sees while one is tried out, below 10,000; drawn anew |
//! | `Souk-Caller` | the component that calls, for logs; `-` |
//!
//! | header of an answer | meaning |
//! |---|---|
//! | `Souk-Working: 1` | no answer yet: sent every [`WORKING_INTERVAL`] while the call runs |
//! | `Nats-Service-Error-Code`, `Nats-Service-Error` | the call failed: a status as in HTTP, and which [`Failure`](souk_runtime::Failure) it was |
//!
//! **The deadline.** Clocks of two machines differ, so the callee counts `Souk-Timeout` from when it has the message.
//! The absolute deadline only keeps it from starting what waited in a buffer while nobody could deliver it.
//!
//! **A callee that dies.** Its host says every [`WORKING_INTERVAL`] that the call runs. A caller that hears nothing for
//! [`LOST_AFTER`] takes the call as lost. Calls that are quicker than that cost nothing extra. A host that hangs is still
//! given calls by NATS; after one was lost, the callers pass it by ([`hosts`]).
//!
//! **What is sent again.** A function that the manifest calls `idempotent`, and GET, HEAD and OPTIONS, when the call
//! was lost: [`MAX_ATTEMPTS`] times in all, within the deadline; and while the connection to NATS has been down for
//! less than [`OUTAGE_GRACE`], such a call waits for it. A component that has no host is asked again in the same way
//! when it was there a moment ago: its hosts may have lost their connection. Anything else fails at once and says that
//! it is not known whether it was done: the caller repeats it with an idempotency key of its own.
//!
//! **Types.** What the other host runs is not seen at the start, and values of another contract may be read as something
//! that they are not. So the subject of a call names the type that it was made for, by a digest, and a host subscribes to
//! that of its own, and to those of other types that it can answer exactly: a contract may gain optional fields and cases
//! while its hosts are replaced ([`others`]). A caller whose type nobody serves is told `unavailable`, and the log has both
//! types; so has that of a host that starts ([`types`]). Such a call was not begun.
//!
//! **Versions of the wire.** A host says in `$SRV.INFO` which version it speaks ([`peers`]), and does not start beside one
//! of another: 0.1.0, which says none, has no type in its subjects.
//!
//! **Bounds.** A message, by the server's `max_payload`. Calls that a host has taken and not answered, by [`MAX_CALL_MEMORY_KIB`];
//! those beyond are told `overloaded`, and nothing was started. What one call's
//! values take, by the limit `call_bytes` of the component that reads them, as on one host.
//!
//! **Who may call.** Whoever may publish on the application's subjects may call every component, as whoever may use the
//! control socket may: NATS's credentials are for hosts alone.
//!
//! Streams do not cross a remote link: a body is sent whole.

mod call;
mod clocks;
mod expected;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hosts;
pub mod http;
mod inbox;
mod link;
mod listing;
pub(crate) mod memory_budget;
mod micro;
mod others;
mod peers;
mod running;
mod serve;
mod served;
mod types;
pub mod whole;
mod wire;

#[cfg(test)]
mod tests;

pub use call::{Remote, Target};
pub use link::{Linked, link};
pub use listing::{ListedHost, hosts as listed_hosts};
pub use micro::is_served;
pub(crate) use peers::WIRE_VERSION;
pub use peers::{PeerError, Presence, agree};
pub use serve::Serving;
pub(crate) use serve::{leave, round_trip};
pub use served::{ServedFunction, Unanswered};
pub use types::{CalledFunction, ExpectedType, compare, expected_types};

use souk_codec::MAX_VALUE_BYTES;
use souk_manifest::limits::FixedLimit;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of calls between hosts.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How often the host of a running call says that it runs.
    pub const WORKING_INTERVAL: Duration = Duration::from_millis(250);
    /// How long a call may be silent before it counts as lost: four times the working interval.
    pub const LOST_AFTER: Duration = Duration::from_secs(1);
    /// How often a call that may be repeated is sent at most, the first time included.
    pub const MAX_ATTEMPTS: u32 = 3, "attempts";
    /// How long a call that may be repeated waits for NATS, from the beginning of the outage. For as long after one,
    /// and after its last answer, a component that has no host is asked again: it may be about to come back.
    pub const OUTAGE_GRACE: Duration = Duration::from_secs(2);
    /// How far the clocks of two hosts may differ.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);
    /// The most memory that the calls of a host may take together, for their messages and their arguments as values.
    /// One call alone may be as large as a call between components of one host: eight calls of the largest size by
    /// default.
    pub const MAX_CALL_MEMORY_KIB: usize = 8 * MAX_VALUE_BYTES / 1024, KiB;
    /// The least memory that a call counts for: a task with its values takes that much while it runs.
    const MIN_CALL_KIB: usize = 16, KiB;
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        call::FIXED_LIMITS,
        hosts::FIXED_LIMITS,
        running::FIXED_LIMITS,
        serve::FIXED_LIMITS,
        wire::FIXED_LIMITS,
        http::FIXED_LIMITS,
        peers::FIXED_LIMITS,
        clocks::FIXED_LIMITS,
        listing::FIXED_LIMITS,
        micro::FIXED_LIMITS,
        expected::FIXED_LIMITS,
        others::FIXED_LIMITS,
        served::FIXED_LIMITS,
    ]
    .concat()
}
