//! Outbound Redis, `spin:redis@3.0.0` and `fermyon:spin/redis@2.0.0`: servers that `allowed_outbound_hosts` names.
//!
//! A guest's `connection` is one connection to the server, opened with it and closed when it is dropped. It is never
//! shared, because a guest may send any command, and some change the connection's state (`SELECT`, `AUTH`, `MULTI`). A
//! connection runs its commands one at a time, in order; each is sent once.
//!
//! The size of an answer is limited while it is read (`bounded.rs`), before the client stores it, because no command
//! says in advance how large its answer is. An answer that is too large closes the connection, because the rest of it
//! would come next. The guest waits for an answer at most [`ANSWER_TIMEOUT`](crate::outbound::ANSWER_TIMEOUT), and
//! never beyond its call's deadline.
//!
//! As in Spin, a server that was not granted and an address that is not `redis://` or `rediss://` both fail with
//! `invalid-address`. TLS certificates are always checked against Mozilla's roots.

mod bounded;
mod commands;
mod connection;
mod host;
mod spin_2;

pub use connection::Connection;

use crate::Ctx;
use crate::binding::Binding;
use wasmtime::component::{HasSelf, Linker};

/// The Rust side of the WIT interface.
#[allow(unreachable_pub, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-redis@3.0.0",
        inline: "package souk:redis-host; world host { import spin:redis/redis@3.0.0; }",
        world: "souk:redis-host/host",
        imports: { default: trappable },
        with: { "spin:redis/redis.connection": super::host::Handle },
        additional_derives: [PartialEq],
    });
}

pub use bindings::spin::redis::redis::{Error, RedisParameter, RedisResult};

souk_manifest::fixed_limits! {
    /// The fixed limits of Redis.
    pub(crate) const FIXED_LIMITS = "redis";

    /// The largest command, with its arguments.
    pub const MAX_COMMAND_BYTES: usize = 16 << 20, bytes;
    /// The largest answer to a command; each line of it counts for more than its bytes.
    pub const MAX_ANSWER_BYTES: usize = 16 << 20, bytes;
    /// How many bytes each line of an answer counts for in addition to its own: an element of a list is a line, and
    /// uses more memory than the few bytes that it has.
    pub const LINE_OVERHEAD_BYTES: usize = 48, bytes;
}

/// The binding.
pub const BINDING: Binding = Binding {
    name: "redis",
    interfaces: &["spin:redis/redis@", "fermyon:spin/redis@"],
    key: "allowed_outbound_hosts",
    is_missing: |component| {
        let hosts = &component.allowed_outbound_hosts;
        !hosts.iter().any(|host| host.is_for("redis") || host.is_for("rediss"))
    },
    // The list of outbound hosts already names them.
    describe: Binding::nothing,
    fixed_limits: || FIXED_LIMITS.to_vec(),
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::redis::redis::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    spin_2::add_to_linker(linker)
}

#[cfg(test)]
mod tests;
