//! Outbound MySQL, `spin:mysql@3.0.0` and `fermyon:spin/mysql@2.0.0`: servers that `allowed_outbound_hosts` names. MariaDB
//! is one too.
//!
//! A guest's `connection` is one connection to the server, made when it is opened and closed when it is dropped, which
//! rolls back. It is shared with nobody and never handed on, so nothing of a session passes from guest to guest; a
//! component that wants few connections keeps one. An instance that holds one serves no other call: a transaction may be
//! open on it.
//!
//! A statement is sent once, prepared by the server. One that is cancelled takes its connection with it.
//!
//! # Values
//!
//! What each type becomes is as in Spin: `TINYINT(1)` is an 8-bit integer. DECIMAL and JSON are text, which Spin has no
//! form for; dates, times and other types are `unsupported`: select them as text, `CAST(... AS CHAR)`.
//!
//! sqlx reads a row whole before it is seen here, so one row of up to the server's `max_allowed_packet` takes as much
//! memory for the moment in which it is refused for its size.
//!
//! # What it refuses
//!
//! A server that was not granted, and an address with a parameter that it does not know: sqlx would read files that the
//! URL names. Without TLS, MySQL's `caching_sha2_password` needs a password that the server has in its cache.

mod address;
mod connection;
mod host;
mod spin_2;
mod value;

pub use connection::Connection;

use crate::Ctx;
use crate::binding::Binding;
use std::time::Duration;
use wasmtime::component::{HasSelf, Linker};

/// The Rust side of the WIT interface.
#[allow(unreachable_pub, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-mysql@3.0.0",
        inline: "package souk:mysql-host; world host { import spin:mysql/mysql@3.0.0; }",
        world: "souk:mysql-host/host",
        imports: { default: trappable },
        with: { "spin:mysql/mysql.connection": super::host::Handle },
        additional_derives: [PartialEq],
    });
}

pub use bindings::spin::mysql::mysql::{Column, DbDataType, DbValue, Error, ParameterValue, Row};

souk_manifest::fixed_limits! {
    /// The fixed limits of MySQL.
    pub(crate) const FIXED_LIMITS = "mysql";

    /// The longest statement.
    pub const MAX_STATEMENT_BYTES: usize = 1 << 20, bytes;
    /// The most that a result may hold in the host's memory. A larger one must be read in pages.
    pub const MAX_RESULT_BYTES: usize = 16 << 20, bytes;
    /// The prepared statements that a connection keeps.
    pub const CACHED_STATEMENTS: usize = 16, "statements";
    /// How long a connection that is dropped may take to say so to the server.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
}

/// The binding.
pub const BINDING: Binding = Binding {
    name: "mysql",
    interfaces: &["spin:mysql/", "fermyon:spin/mysql@"],
    key: "allowed_outbound_hosts",
    is_missing: |component| !component.allowed_outbound_hosts.iter().any(|host| host.is_for("mysql")),
    // They are among the outbound hosts.
    describe: Binding::nothing,
    fixed_limits: || FIXED_LIMITS.to_vec(),
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::mysql::mysql::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    spin_2::add_to_linker(linker)
}

#[cfg(test)]
mod tests;
