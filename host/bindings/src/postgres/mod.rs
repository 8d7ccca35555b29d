//! `spin:postgres@4.2`, `@3.0` and `fermyon:spin/postgres@2.0`: databases of PostgreSQL servers, for components whose
//! `allowed_outbound_hosts` name them.
//!
//! # Pools
//!
//! One pool of connections an address, where the address is all of it, credentials and TLS included; components
//! with the same address share it. A guest's `connection` holds nothing while it is idle: each statement takes a
//! connection of the pool and gives it back, so opening one for each request costs nothing. All bounds are below.
//!
//! # Transactions
//!
//! When a statement leaves the session in a transaction, the guest's connection keeps the session until the transaction
//! ends. Dropping the guest's connection rolls back; so do a trap, a deadline and a cancelled call, which drop it. An
//! instance that holds a transaction serves no other call.
//!
//! sqlx keeps to itself what PostgreSQL says of a session after each statement (`ReadyForQuery`), so it is concluded:
//! the extended protocol takes one statement at a time, and of all commands only `BEGIN` and `START TRANSACTION` open a
//! transaction, and only `COMMIT`, `END`, `ROLLBACK`, `ABORT` and `PREPARE TRANSACTION` close one. `statement.rs` reads
//! which command it is, and PostgreSQL says whether it succeeded. Where a command that closes one fails, the answer
//! does not tell (a deferred constraint ends the transaction, a mistake in the text does not), and PostgreSQL is asked:
//! it refuses every query in a failed transaction.
//!
//! A transaction whose session died, or whose statement was cancelled, is lost; the guest's connection refuses more
//! until the guest says `ROLLBACK`: the rest of a broken transaction must not be committed piece by piece.
//!
//! # What is never done twice
//!
//! A statement is sent once. A connection that was idle for [`PING_AFTER`] is asked whether it lives before a statement
//! is sent on it, and another takes its place when it does not. A statement is sent again in one case: PostgreSQL says
//! that what was prepared is out of date, which it finds before it runs.
//!
//! # What a session keeps
//!
//! Settings, temporary tables, advisory locks and the like belong to a session, and sessions pass from guest to guest.
//! So a session whose statement may have left something is closed instead of being given back: that is every command
//! but queries, changes of rows and the control of transactions, and of these the ones that name a function such as
//! `set_config`. Closing is the reset that forgets nothing. Within a transaction `SET LOCAL` does without.
//!
//! A statement whose call was cancelled closes its session, too. From PostgreSQL 14 on the server looks after its
//! client each second and then ends the statement; an older one works on until it has something to send.
//!
//! # Values
//!
//! sqlx reads a row whole before it is seen here, so one row of up to PostgreSQL's 1 GiB takes as much memory for the
//! moment in which it is refused for its size.
//!
//! Parameters are written as the types that PostgreSQL wants (`parameter.rs`), results as Spin gives them (`value.rs`).
#![allow(clippy::result_large_err, reason = "the interface's error, which every function has, is what it is")]

mod address;
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
pub use stream::RowStream;

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
    /// The most connections that one instance holds open, as the component sees them.
    pub const MAX_CONNECTIONS: usize = 256, "connections";
    /// The most addresses of the connections that one instance holds open.
    pub const MAX_INSTANCE_ADDRESSES: usize = 8, "addresses";
    /// The most open transactions of one instance; each holds a connection of a pool.
    pub const MAX_TRANSACTIONS: usize = 4, "transactions";
    /// How long a statement waits for a free connection.
    pub const POOL_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long it may take to connect: resolving the name, TLS and login included.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// A connection that was idle for longer is pinged before it is used. One that is used more often costs no ping,
    /// and one that died in so short a time is like one that died during a statement.
    pub const PING_AFTER: Duration = Duration::from_millis(50);
    /// How long the answer to such a ping, or to a `ROLLBACK` that no caller waits for, may take.
    pub const PING_TIMEOUT: Duration = Duration::from_secs(1);
    /// A connection that nobody used for this long is closed.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The prepared statements that a connection keeps.
    pub const CACHED_STATEMENTS: usize = 64, "statements";
    /// The longest statement that is kept prepared; a longer one closes its connection.
    pub const CACHED_STATEMENT_BYTES: usize = 16 << 10, bytes;
    /// The longest statement.
    pub const MAX_STATEMENT_BYTES: usize = 1 << 20, bytes;
    /// The most that a result may hold in the host's memory, for one statement and for all the unread streams of one
    /// instance. A larger result must be read as a stream, outside a transaction, or in pages.
    pub const MAX_RESULT_BYTES: usize = 16 << 20, bytes;
    /// How long a stream of rows waits for the component to read on; it holds a connection of the pool.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, address::FIXED_LIMITS, pool::FIXED_LIMITS, stream::FIXED_LIMITS, numeric::FIXED_LIMITS].concat()
}

/// The binding's state of one instance.
#[derive(Debug, Default)]
pub struct State {
    /// Connections of the instance that are inside a transaction.
    transactions: Arc<AtomicUsize>,
    /// Bytes of rows that the instance asked for as streams and has not read.
    unread: Arc<AtomicUsize>,
    /// Connections of the instance, those that are just being opened too. The ones that were dropped go with the next.
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
        // One of each pool, which there are few of.
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

/// Links the interface, and its older forms. Guests that were built against 4.0 or 4.1 of the package, which 4.2 extends,
/// find it, too.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::postgres::postgres::add_to_linker::<Ctx, host::Postgres>(linker, host::View::of)?;
    spin_3::add_to_linker(linker)?;
    spin_2::add_to_linker(linker)
}
