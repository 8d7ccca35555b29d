//! A component's database: statements, rows, and transactions that roll back unless they succeed. The same component
//! works with SQLite and PostgreSQL.
//!
//! ```no_run
//! use souk_database::{Database, Error, Statement, Value, statement};
//!
//! const ADD: Statement = statement!("INSERT INTO lines (text) VALUES (?1)");
//! const LIST: Statement = statement!("SELECT text FROM lines ORDER BY id LIMIT 100");
//!
//! /// Adds two lines, or neither of them, and returns all.
//! fn add(first: &str, second: &str) -> Result<Vec<String>, Error> {
//!     let database = Database::open()?;
//!     database.transaction(|transaction| {
//!         transaction.query(ADD, &[Value::Text(first.to_owned())])?;
//!         transaction.query(ADD, &[Value::Text(second.to_owned())])?;
//!         Ok::<(), Error>(())
//!     })?;
//!     database.query(LIST, &[])?.map(|mut row| row.text()).collect()
//! }
//! ```
//!
//! The component's variable `database_url` names the database. An instance reads it once:
//!
//! | `database_url` | database | granted by |
//! |---|---|---|
//! | `sqlite:LABEL` | a SQLite database that the host manages | `LABEL` in `sqlite_databases` |
//! | `postgres://USER:PASSWORD@HOST/DATABASE` | a PostgreSQL database | its host in `allowed_outbound_hosts` |
//!
//! A component has its SQL in one module (`sql.rs`), as constants that [`statement!`] makes for both dialects, and
//! reads rows in another module. Its migrations are in one folder for each dialect. Everything else is the same for
//! both.
//!
//! # Why this shape
//!
//! The host reuses instances, so the connection is kept between calls. Statements use the synchronous functions of the
//! interfaces: then a statement is one call into the host, which returns all rows as a list. The async functions return
//! a stream and a future, which cost two more calls each, and no result here is large enough to need a stream. A
//! transaction is a closure that is not async, so between its statements it can wait only for the database: a component
//! cannot hold the database's write lock or row locks while it waits for another component.
//!
//! Values are those of SQLite, as [`Value`]: null, integers, reals, texts and blobs. Both databases have all of these.
//!
//! # Where the dialects differ
//!
//! | | SQLite | PostgreSQL | so |
//! |---|---|---|---|
//! | parameters | `?1` | `$1` | write `?1`; [`statement!`] makes both |
//! | their types | any value is accepted | the statement determines them, by a column, an operator or a cast; a value must be of that kind (an integer fits each integer type) or null | cast a parameter whose type nothing determines: `(?2::text IS NULL OR owner = ?2)`; cast a text that becomes another type: `?3::text::timestamptz` |
//! | booleans | integers, with the words `true` and `false` | `boolean` | write `true` and `false`; but SQLite uses a partial index with `WHERE x = 1` only if the statement contains `x = 1`, so write that condition as a piece with two texts; [`Row::boolean`] reads both |
//! | times | texts, `2024-02-27T15:50:27.545Z`, which sort by time | `timestamptz(3)` | [`NOW`], [`ago!`] and [`time!`], which reads a column as that text |
//! | a malformed time | any text is stored, `strftime` gives null | an error | check it before you pass it |
//! | `max(a, b)`, `min(a, b)` | the same | `greatest`, `least` | a piece with two texts |
//! | U+0000 in a text | stored | an error, 22021 | refuse it in input from outside |
//! | a number beyond 64 bits in a text | a real | an error, 22003 | check it before you pass it |
//! | writers | one at a time, in transactions too | concurrent | see the next section |
//!
//! # Concurrency
//!
//! On SQLite a transaction waits at its beginning until it is the only writer: what it reads stays the same until it
//! ends. On PostgreSQL transactions run at READ COMMITTED: each statement sees what was committed when it began. A
//! statement that changes a row while another transaction is changing it waits, and then checks again whether that row
//! still matches its `WHERE`. It checks only that row again: a subquery over other rows keeps its old result. So, for
//! both databases:
//!
//! - Let one statement decide, and name in its `WHERE` the state that it starts from, as columns of the row that it
//!   changes. Then it needs no transaction.
//! - If reading and writing take two statements, first read the row on which both depend, with [`LOCKED`]. Other
//!   transactions that do the same wait there, and their next statements see what this one did.
//! - `INSERT ... ON CONFLICT` waits for another insert of the same key, and then sees whether that was committed.
//! - Take locks in the same order everywhere, and clean up with `FOR UPDATE SKIP LOCKED`, which never waits. A
//!   deadlock ends as [`Error::Unavailable`].
//!
//! # When the answer is lost
//!
//! A connection can break, or a deadline can end the call, after `COMMIT` was sent and before its answer has arrived.
//! Then nobody knows whether the transaction is stored; the error is [`Error::Unavailable`], as for a transaction that
//! is certainly not stored. So the caller must be able to repeat the call safely: store a key from the caller with the
//! change (an idempotency key, an event's id) under a unique constraint, and answer the second call from what the first
//! one has stored. That also covers a caller that got no answer at all.
//!
//! # What it does not do
//!
//! - It does not tell the caller what went wrong: the database's error goes to the log, and the caller learns only
//!   whether the same call may succeed later.
//! - It does not run a transaction again by itself. Other effects of its closure (a log line, a value that it has
//!   moved) cannot be undone, a second run would hold the instance longer just when the database is busy, and callers
//!   must be able to repeat a call anyway, as the previous section says.
//! - It does not continue a transaction after a statement has failed, and it does not nest transactions.

mod bindings;
#[doc(hidden)]
pub mod compose;
mod connection;
#[cfg(not(target_family = "wasm"))]
mod native;
mod row;
mod statement;
mod transaction;

pub use row::{Row, Rows};
pub use spin_sdk::sqlite::Value;
pub use statement::{Dialect, LOCKED, NOW, Statement};
pub use transaction::Transaction;

use connection::{Connection, Location};
use std::cell::{Cell, OnceCell};
use transaction::State;

/// The variable that names the database.
const VARIABLE: &str = "database_url";

/// Why a statement returned no result. The database's own error is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The database does not answer, is busy or full, lacks a table, or let another transaction go first: the same call
    /// may succeed later. If a transaction returns this error, it may still be stored.
    Unavailable,
    /// The database cannot be opened with the component's configuration, refuses the statement, or contains data that
    /// its schema rules out: somebody must look at it.
    Internal,
}

thread_local! {
    /// The connection while no call uses it.
    static IDLE: Cell<Option<Connection>> = const { Cell::new(None) };
    /// The parsed variable.
    static LOCATION: OnceCell<Location> = const { OnceCell::new() };
}

/// The database, for the duration of one call. When it is dropped, the connection is kept for the next call of the
/// instance, unless a statement failed: then the connection is closed, and the next call opens another one.
#[derive(Debug)]
pub struct Database {
    /// `None` only during the drop.
    connection: Option<Connection>,
    state: Cell<State>,
    failed: Cell<bool>,
}

impl Database {
    /// Opens the component's database. This has to wait only when the instance keeps no connection: in its first call,
    /// and after a call in which a statement failed.
    ///
    /// # Errors
    /// [`Error::Internal`] when the variable is missing, or names no database that is granted to the component;
    /// [`Error::Unavailable`] when the database cannot be reached.
    pub fn open() -> Result<Database, Error> {
        match IDLE.take() {
            Some(connection) => Ok(Database::over(connection)),
            None => Database::connect(),
        }
    }

    #[cold]
    fn connect() -> Result<Database, Error> {
        if LOCATION.with(|location| location.get().is_none()) {
            let url = souk_variables::get(VARIABLE).map_err(|e| {
                eprintln!("variable `{VARIABLE}`: {e}");
                Error::Internal
            })?;
            let parsed = Location::parse(url)?;
            LOCATION.with(|location| location.set(parsed)).ok();
        }
        LOCATION.with(|location| match location.get() {
            Some(location) => Connection::open(location).map(Database::over),
            None => Err(Error::Internal),
        })
    }

    /// An in-memory SQLite database with these migrations: for native unit tests.
    ///
    /// # Panics
    /// When a migration fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn in_memory(migrations: &[&str]) -> Database {
        Database::over(Connection::Sqlite(native::Sqlite::in_memory(migrations)))
    }

    /// The PostgreSQL database at `url` with these migrations: for native unit tests.
    ///
    /// # Panics
    /// When it cannot be reached, or a migration fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn postgres(url: &str, migrations: &[&str]) -> Database {
        Database::over(Connection::Postgres(native::Postgres::with(url, migrations)))
    }

    fn over(connection: Connection) -> Database {
        Database { connection: Some(connection), state: Cell::new(State::None), failed: Cell::new(false) }
    }

    /// The database's dialect, for the few tasks that are better done differently in each.
    pub fn dialect(&self) -> Dialect {
        self.connection.as_ref().map_or(Dialect::Sqlite, Connection::dialect)
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// For SQLite, [`Error::Unavailable`] for every error of a statement: `spin:sqlite` does not distinguish a busy
    /// database from a broken one. For PostgreSQL, by the SQLSTATE. After a failed statement in a transaction, that
    /// statement's error again; after the session is lost, [`Error::Unavailable`] until the call ends.
    pub fn query<'a>(&self, statement: impl Into<Statement<'a>>, parameters: &[Value]) -> Result<Rows, Error> {
        match self.state.get() {
            // PostgreSQL refuses it anyway, and SQLite would allow half of a transaction to be committed.
            State::Failed(error) => Err(error),
            State::SessionLost => Err(Error::Unavailable),
            State::None | State::Open => self.run(statement.into(), parameters),
        }
    }

    /// Runs `work` in a transaction that may write, and commits it. If `work` or a statement fails, the transaction is
    /// rolled back.
    ///
    /// # Errors
    /// Those of `work`, and those of the database. After [`Error::Unavailable`] from the commit nobody knows whether
    /// the transaction is stored (see "When the answer is lost" in the crate's documentation).
    pub fn transaction<T, E: From<Error>>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        let transaction = Transaction::begin(self)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    fn run(&self, statement: Statement<'_>, parameters: &[Value]) -> Result<Rows, Error> {
        let Some(connection) = &self.connection else { return Err(Error::Internal) };
        connection.run(statement, parameters).map_err(|failure| {
            self.failed.set(true);
            match self.state.get() {
                _ if failure.lost => self.state.set(State::SessionLost),
                State::Open => self.state.set(State::Failed(failure.error)),
                State::None | State::Failed(_) | State::SessionLost => {}
            }
            failure.error
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.failed.get() {
            IDLE.set(self.connection.take());
        }
    }
}

#[cfg(test)]
mod tests;
