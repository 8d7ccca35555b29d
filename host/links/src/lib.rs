//! Links: an import of one component connected to the export of another, each in a sandbox of its own.
//!
//! Only plain values cross a link. Start-up checks that importer and exporter mean the same types ([`check`]) and
//! prepares, for each function, how its values are written as JSON ([`souk_codec`]) and which error of the contract a
//! caller gets when the callee failed or was late ([`unavailable`]). This is done once, not on every call.
//!
//! A link is [`local`] or, to a component on another host, [`remote`], and its caller waits for the answer; or it is
//! [`durable`], and its caller waits until the call is stored. Imports and exports can also be patterns of a NestJS
//! system ([`nest`]). An export can also receive the messages of a Redis channel ([`redis`](mod@redis)).
//!
//! A contract with a resource, stream or future is refused, because a handle is valid only in its own wasmtime store.

mod answers;
pub mod check;
pub mod cluster;
pub mod durable;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod import;
pub mod local;
pub mod nest;
pub mod redis;
pub mod remote;
pub mod stand_in;
mod taped;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod test_pool;
mod trace_headers;
pub mod unavailable;

pub use import::{Import, LinkError, Target};
pub use taped::link_to_recording;

use souk_manifest::limits::FixedLimit;

souk_manifest::fixed_limits! {
    /// The fixed limits of values that are read from JSON or a message.
    pub(crate) const FIXED_LIMITS = "values";

    /// The most memory that a value may take when it is read from JSON or a message, where no component's limit
    /// `call_bytes` says how much.
    const MAX_VALUE_BYTES: usize = souk_codec::MAX_VALUE_BYTES, bytes;
    /// How deep the JSON of a contract's types may nest.
    const MAX_DEPTH: usize = souk_codec::MAX_DEPTH, "levels";
}

/// Every fixed limit of links, which `souk doctor` prints.
pub fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS.to_vec(),
        durable::fixed_limits(),
        remote::fixed_limits(),
        cluster::fixed_limits(),
        nest::fixed_limits(),
        redis::fixed_limits(),
    ]
    .concat()
}
