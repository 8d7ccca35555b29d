//! Remote links: an import answered by a component on another host of the application, over NATS; and HTTP requests to
//! such components.
//!
//! A call is a request to a subject of the function, in the queue group of the component: NATS gives it to one of the
//! hosts that run the component. The caller sees no difference from a local link: the same values, the contract's own
//! error for a callee that is dead, late or overloaded, one deadline, one trace.
//!
//! | subject | who subscribes | payload |
//! |---|---|---|
//! | `souk.APP.call.COMPONENT.INTERFACE.FUNCTION.TYPE` | hosts that run the component, as a queue group | the parameters as JSON ([`souk_codec`]) |
//! | `souk.APP.http.COMPONENT` | the same | a head as one line of JSON, and the body ([`http`]) |
//! | one of these two and `.HOST` | that host only, by its id in `$SRV.PING` | the same ([`hosts`]) |
//! | one of these two and `.trial-ID` | the host that tries out a version of the component | calls for that version |
//! | `souk.APP.cancel.COMPONENT` | every host that runs it | the id of a call whose caller waits no longer |
//! | the reply subject | the caller's host only ([`inbox`]) | the result as JSON, or a response |
//! | `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS` | every host ([`micro`]) | NATS's service API, for `nats micro`, `souk call` and hosts that start ([`peers`]) |
//!
//! | header of a call | meaning | when it is absent |
//! |---|---|---|
//! | `Souk-Call` | the call's id, for `cancel` | the call cannot be cancelled |
//! | `Souk-Timeout` | milliseconds until the deadline, when the call was sent | the component's `call_deadline` |
//! | `Souk-Deadline` | the deadline in milliseconds since 1970; a call is not started more than [`MAX_CLOCK_SKEW`] after it | no such check |
//! | `Souk-Trace` | the trace id | a new one |
//! | `traceparent`, `tracestate` | the call's place in the trace of requests | none |
//! | `Souk-Hops` | links crossed so far, at most [`MAX_HOPS`](souk_bindings::call::MAX_HOPS) | 1 |
//! | `Souk-Draw` | a number below 10,000 that selects each component's version for the whole tree of calls while a new version is tried out | drawn again |
//! | `Souk-Caller` | the component that calls, for logs | `-` |
//!
//! | header of an answer | meaning |
//! |---|---|
//! | `Souk-Working: 1` | no answer yet: sent every [`WORKING_INTERVAL`] while the call runs |
//! | `Nats-Service-Error-Code`, `Nats-Service-Error` | the call failed: a status as in HTTP, and the kind of [`Failure`](souk_runtime::Failure) |
//!
//! **The deadline.** Clocks of two machines differ, so the callee counts `Souk-Timeout` from when it gets the message.
//! The absolute deadline only prevents a late start of calls that waited in a buffer while nobody could deliver them.
//!
//! **A callee that dies.** The callee's host reports every [`WORKING_INTERVAL`] that the call runs. A call of which the
//! caller hears nothing for [`LOST_AFTER`] counts as lost. Calls that are quicker than the interval cost nothing extra.
//! NATS still gives calls to a host that hangs; after a lost call, callers choose another host ([`hosts`]).
//!
//! **A version that one host tries out.** `Souk-Draw` says whether a tree of calls gets it. All hosts know of the trial,
//! and send the calls that get the version to the subject of the trial, which only the host that tries it out has.
//! If nobody takes such a call, because that host is gone, the call was not started, and goes to the subject that all
//! hosts share, where nobody has that version any more.
//!
//! **Repeated calls.** A lost call is sent again if the manifest declares the function `idempotent`, or if the request
//! is GET, HEAD or OPTIONS: [`MAX_ATTEMPTS`] times in all, within the deadline. Such a call also waits for the
//! connection to NATS while that has been down for less than [`OUTAGE_GRACE`]. When a component has no host but had one
//! a moment ago, such a call is repeated too, because the hosts may have lost their connection. Any other call fails at
//! once, with an error which says that it may have been done: the caller can repeat it with an idempotency key of its
//! own.
//!
//! **Types.** A host cannot see the contracts of other hosts at its start, and could misread values of another
//! contract. So the subject of a call contains a digest of the type that the caller was built for. A host subscribes to
//! the subject of its own type, and to those of other types that it can answer exactly: a contract may gain optional
//! fields and cases while its hosts are replaced ([`other_types`]). When no host serves a caller's type, the caller gets
//! `unavailable` and the log shows both types; a host that starts logs the same ([`types`]). Such a call was not
//! started.
//!
//! **Versions of the protocol.** A host publishes in `$SRV.INFO` which version of the protocol it speaks ([`peers`]),
//! and does not start beside a host of another version. Release 0.1.0 publishes none: its subjects have no type.
//!
//! **Bounds.** The server's `max_payload` bounds a message. [`MAX_CALL_MEMORY_KIB`] bounds the calls that a host has
//! taken and not answered; further calls get `overloaded` and are not started. The limit `call_bytes` of the component
//! that reads the values bounds the values of one call, as within one host.
//!
//! **Who may call.** Anyone who may publish on the application's subjects may call every component, like anyone who may
//! use the control socket. Give NATS credentials to hosts only.
//!
//! Streams do not cross a remote link: a body is sent as a whole.

mod call;
mod called;
mod clocks;
mod expected;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hosts;
pub mod http;
mod inbox;
mod intake;
mod link;
mod listing;
pub(crate) mod memory_budget;
mod micro;
mod other_types;
mod peers;
mod queue_group;
mod running;
mod serve;
mod served;
mod types;
pub mod whole_body;
mod wire;

#[cfg(test)]
mod tests;

pub use call::{Remote, Target};
pub use called::{CalledFunction, ExpectedType};
pub use hosts::Trial;
pub(crate) use link::Link;
pub use link::{Linked, link};
pub use listing::{ListedHost, hosts as listed_hosts};
pub use micro::is_served;
pub(crate) use peers::WIRE_VERSION;
pub use peers::{PeerError, Presence, agree};
pub(crate) use queue_group::{leave, round_trip};
pub use serve::Serving;
pub use served::{FunctionsUnknown, ServedFunction};
pub use types::{MISMATCH_FIX, announce, compare, expected_types, unanswered};

use souk_codec::MAX_VALUE_BYTES;
use souk_manifest::limits::FixedLimit;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of calls between hosts.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How often the host of a running call reports that it runs.
    pub const WORKING_INTERVAL: Duration = Duration::from_millis(250);
    /// How long a call may be silent before it counts as lost: four times the working interval.
    pub const LOST_AFTER: Duration = Duration::from_secs(1);
    /// How often a call that may be repeated is sent at most, the first time included.
    pub const MAX_ATTEMPTS: u32 = 3, "attempts";
    /// How long a call that may be repeated waits for NATS, from the beginning of an outage. For as long after an
    /// outage, and after the last answer of a component, a call to the component is repeated although it has no host:
    /// its hosts may be about to come back.
    pub const OUTAGE_GRACE: Duration = Duration::from_secs(2);
    /// How far the clocks of two hosts may differ.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);
    /// The most memory that the calls of a host may take together, for their messages and their arguments as values.
    /// One call alone may be as large as a call between components of one host: eight calls of the largest size by
    /// default.
    pub const MAX_CALL_MEMORY_KIB: usize = 8 * MAX_VALUE_BYTES / 1024, KiB;
    /// The least memory that a call counts for: its task with small values takes about that much.
    const MIN_CALL_KIB: usize = 16, KiB;
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        call::FIXED_LIMITS,
        hosts::FIXED_LIMITS,
        running::FIXED_LIMITS,
        queue_group::FIXED_LIMITS,
        intake::FIXED_LIMITS,
        wire::FIXED_LIMITS,
        http::FIXED_LIMITS,
        peers::FIXED_LIMITS,
        clocks::FIXED_LIMITS,
        listing::FIXED_LIMITS,
        micro::FIXED_LIMITS,
        expected::FIXED_LIMITS,
        other_types::FIXED_LIMITS,
        served::FIXED_LIMITS,
    ]
    .concat()
}
