//! Outbound MySQL, `spin:mysql@3.0.0` and `fermyon:spin/mysql@2.0.0`: servers, also MariaDB, that
//! `allowed_outbound_hosts` names.
//!
//! A guest's `connection` is one connection to the server, opened with it and closed when it is dropped, which rolls
//! back an open transaction. It is never shared or reused, so no session state passes from guest to guest; a component
//! that wants few connections keeps one open. An instance that holds a connection serves no other call, because a
//! transaction may be open on it.
//!
//! The server prepares each statement, and it is sent only once. Cancelling a statement closes its connection.
//!
//! # Values
//!
//! Types are converted as in Spin; for example, `TINYINT(1)` is an 8-bit integer. DECIMAL and JSON, which Spin does not
//! support, are text. Dates, times and other types are `unsupported`: select them as text, with `CAST(... AS CHAR)`.
//!
//! sqlx reads a whole row before this code sees it; a relay (`relay.rs`) ends the connection when a row
//! becomes much larger than a result may be.
//!
//! # What it refuses
//!
//! It refuses a server that was not granted, and an address with an unknown parameter, because sqlx would read files
//! that the URL names. Without TLS, MySQL's `caching_sha2_password` only works if the server has the password in its
//! cache.

mod address;
mod connection;
mod host;
mod relay;
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
    /// The most bytes of a result in the host's memory. Read a larger one in pages.
    pub const MAX_RESULT_BYTES: usize = 16 << 20, bytes;
    /// How many prepared statements a connection keeps.
    pub const CACHED_STATEMENTS: usize = 16, "statements";
    /// How long a dropped connection may take to tell the server that it closes.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
}

/// The binding.
pub const BINDING: Binding = Binding {
    name: "mysql",
    interfaces: &["spin:mysql/", "fermyon:spin/mysql@"],
    key: "allowed_outbound_hosts",
    is_missing: |component| !component.allowed_outbound_hosts.iter().any(|host| host.is_for("mysql")),
    // The list of outbound hosts already names them.
    describe: Binding::nothing,
    fixed_limits: || [FIXED_LIMITS, relay::FIXED_LIMITS].concat(),
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::mysql::mysql::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    spin_2::add_to_linker(linker)
}

#[cfg(test)]
mod tests;
