//! `spin:postgres@4.2`, `@3.0` and `fermyon:spin/postgres@2.0`: databases of PostgreSQL servers, for components whose
//! `allowed_outbound_hosts` name them.
//!
//! # Pools
//!
//! There is one pool of connections for each address, where the address includes credentials and TLS settings;
//! components with the same address share the pool. A guest's `connection` holds no pool connection while it is idle:
//! each statement takes one and gives it back. So opening a `connection` for each request costs nothing. All limits are
//! below.
//!
//! # Transactions
//!
//! When a statement leaves the session in a transaction, the guest's connection keeps the session until the transaction
//! ends. Dropping the guest's connection rolls back, and so do a trap, a deadline and a cancelled call, because they
//! drop it. An instance with an open transaction serves no other call.
//!
//! PostgreSQL reports the state of the session after each statement (`ReadyForQuery`), but sqlx does not pass it on. So
//! the state is derived: the extended protocol runs one statement at a time; only `BEGIN` and `START TRANSACTION` open
//! a transaction, and only `COMMIT`, `END`, `ROLLBACK`, `ABORT` and `PREPARE TRANSACTION` close one. `statement.rs`
//! finds out which command it is, and PostgreSQL says whether it succeeded. If a closing command fails, the answer does
//! not show the state: a violated deferred constraint ends the transaction, a syntax error does not. Then a query finds
//! out, because PostgreSQL refuses every query in a failed transaction.
//!
//! A transaction whose session died, or whose statement was cancelled, is lost. The guest's connection then refuses all
//! statements until the guest runs `ROLLBACK`, because the rest of a broken transaction must not be committed statement
//! by statement.
//!
//! # What is never done twice
//!
//! A statement is sent once. A connection that was idle for [`PING_AFTER`] is pinged before a statement is sent on it,
//! and replaced if it is dead. A statement is sent again in one case only: when PostgreSQL reports that the prepared
//! statement is out of date, which it notices before it runs.
//!
//! # What a session keeps
//!
//! Settings, temporary tables, advisory locks and the like belong to a session, and sessions pass from guest to guest.
//! So a session is closed instead of being given back if a statement may have left something in it: every command
//! except queries, changes of rows and transaction control, and also these if they name a function such as
//! `set_config`. Closing is the only reset that is complete. `SET LOCAL` within a transaction does not close the
//! session.
//!
//! A statement whose call was cancelled also closes its session. From PostgreSQL 14 on, the server checks every second
//! whether its client is still connected, and otherwise ends the statement; an older server goes on until it has
//! something to send.
//!
//! # Values
//!
//! sqlx reads a whole row before this code sees it; `buffer.rs` ends the statement when that takes too much memory.
//!
//! Parameters are sent as the types that PostgreSQL expects (`parameter.rs`), and results are converted as in Spin
//! (`value.rs`).
#![allow(clippy::result_large_err, reason = "the interface defines the large error type")]

mod address;
mod buffer;
mod connection;
mod error;
mod grant;
mod host;
mod numeric;
mod parameter;
mod pool;
mod run;
mod spin_2;
mod spin_3;
mod statement;
mod stream;
mod value;
mod wire;

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;

pub(crate) use address::connect_options;
pub use address::{Address, AddressError, MAX_CA_ROOT_BYTES};
pub use connection::Connection;
pub use grant::{BINDING, Granted};
pub use pool::{PoolUse, Pools};
pub use stream::{RowStream, UnreadRows};

use crate::Ctx;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wasmtime::component::Linker;

/// The Rust side of the WIT interface.
#[allow(unreachable_pub, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-postgres@4.2.0",
        inline: "package souk:postgres-host; world host { import spin:postgres/postgres@4.2.0; }",
        world: "souk:postgres-host/host",
        imports: {
            "spin:postgres/postgres.[static]connection.open": async | trappable,
            "spin:postgres/postgres.[method]connection.query": async | trappable,
            "spin:postgres/postgres.[method]connection.execute": async | trappable,
            "spin:postgres/postgres.[method]connection-builder.build": async | trappable,
            default: trappable,
        },
        with: {
            "spin:postgres/postgres.connection": super::host::Handle,
            "spin:postgres/postgres.connection-builder": super::host::Builder,
        },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub use bindings::spin::postgres::postgres::{
    Column, DbDataType, DbError, DbValue, Error, Interval, ParameterValue, QueryError, RangeBoundKind, Row, RowSet,
};
use souk_manifest::limits::FixedLimit;

souk_manifest::fixed_limits! {
    /// The fixed limits of PostgreSQL.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// The most connections to one address.
    pub const MAX_POOL_CONNECTIONS: usize = 32, "connections";
    /// The most connections of the application, to all addresses.
    pub const MAX_ALL_CONNECTIONS: usize = 96, "connections";
    /// The most addresses that the application is connected to.
    pub const MAX_POOLS: usize = 64, "addresses";
    /// The most `connection` handles that one instance holds open.
    pub const MAX_CONNECTIONS: usize = 256, "connections";
    /// The most addresses of the connections that one instance holds open.
    pub const MAX_INSTANCE_ADDRESSES: usize = 8, "addresses";
    /// The most open transactions of one instance; each holds a connection of a pool.
    pub const MAX_TRANSACTIONS: usize = 4, "transactions";
    /// How long a statement waits for a free connection.
    pub const POOL_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long it may take to connect: resolving the name, TLS and login included.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// A connection that was idle for longer is pinged before it is used. Connections in frequent use need no ping; if
    /// one dies in so short a time, its statement fails as if it had died during the statement.
    pub const PING_AFTER: Duration = Duration::from_millis(50);
    /// How long the answer to such a ping, or to a `ROLLBACK` that no caller waits for, may take.
    pub const PING_TIMEOUT: Duration = Duration::from_secs(1);
    /// A connection that nobody used for this long is closed.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// How many prepared statements a connection keeps.
    pub const CACHED_STATEMENTS: usize = 64, "statements";
    /// The longest statement that is kept prepared; a longer one closes its connection.
    pub const CACHED_STATEMENT_BYTES: usize = 16 << 10, bytes;
    /// The longest statement.
    pub const MAX_STATEMENT_BYTES: usize = 1 << 20, bytes;
    /// The most bytes of results in the host's memory, for one statement and for all unread streams of one instance.
    /// Read a larger result as a stream, outside a transaction, or in pages.
    pub const MAX_RESULT_BYTES: usize = 16 << 20, bytes;
    /// How long a stream of rows waits for the component to read on; it holds a connection of the pool.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        address::FIXED_LIMITS,
        buffer::FIXED_LIMITS,
        pool::FIXED_LIMITS,
        stream::FIXED_LIMITS,
        numeric::FIXED_LIMITS,
    ]
    .concat()
}

/// The binding's state of one instance.
#[derive(Debug, Default)]
pub struct State {
    /// Connections of the instance that are inside a transaction.
    transactions: Arc<AtomicUsize>,
    /// Bytes of rows in streams that the instance has not read yet.
    unread: Arc<AtomicUsize>,
    /// Connections of the instance, including those that are being opened. Dropped ones are removed when the next is
    /// opened.
    connections: Vec<Weak<Connection>>,
}

impl State {
    /// Whether the instance may have one more connection, to `address`.
    ///
    /// # Errors
    /// When it has too many, or they lead to too many addresses.
    fn admit(&mut self, address: &Address) -> Result<(), Error> {
        self.connections.retain(|connection| connection.strong_count() > 0);
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(Error::Other(format!(
                "{MAX_CONNECTIONS} connections are open; drop those that are not in use"
            )));
        }
        // One connection for each pool; there are only a few pools.
        let mut open: Vec<_> = self.connections.iter().filter_map(Weak::upgrade).collect();
        open.sort_unstable_by_key(|connection| connection.pool_key());
        open.dedup_by_key(|connection| connection.pool_key());
        if open.iter().filter(|connection| connection.address() != address).count() >= MAX_INSTANCE_ADDRESSES {
            return Err(Error::Other(format!(
                "connections to {MAX_INSTANCE_ADDRESSES} other addresses are open; drop those that are not in use"
            )));
        }
        Ok(())
    }

    /// Whether a connection of the instance is inside a transaction. Such an instance must not serve another call: its
    /// transaction belongs to the call that ended, and is rolled back when the instance is dropped.
    pub fn holds_transaction(&self) -> bool {
        self.transactions.load(Ordering::Acquire) > 0
    }
}

/// Links the interface, and its older forms. Guests that were built against 4.0 or 4.1 of the package are linked to it
/// too, because 4.2 only extends these.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::postgres::postgres::add_to_linker::<Ctx, host::Postgres>(linker, host::View::of)?;
    spin_3::add_to_linker(linker)?;
    spin_2::add_to_linker(linker)
}
