//! Links: an import of one component connected to the export of another, each in a sandbox of its own.
//!
//! Only plain values cross a link. Start-up checks that importer and exporter mean the same types ([`check`]) and
//! prepares, for each function, how its values are written as JSON ([`souk_codec`]) and which of the contract's own errors
//! stands for a dead or late callee ([`unavailable`]). A call does none of that work again.
//!
//! A link is [`local`] or, to a component on another host, [`remote`], and its caller waits for the answer; or it is
//! [`durable`], and its caller waits until the call is stored. Imports and exports can also be patterns of a NestJS
//! system ([`nest`]).
//!
//! A contract with a resource, stream or future is refused: a handle means something in its own store only.

pub mod check;
pub mod durable;
mod import;
pub mod local;
pub mod nest;
pub mod remote;
pub mod unavailable;

pub use import::{Import, LinkError, Target};
