//! A component's database: statements in, rows out, transactions that roll back unless they end well. SQLite or
//! PostgreSQL, with the same component.
//!
//! The component's variable `database_url` says which database that is, and an instance reads it once:
//!
//! | `database_url` | is | granted by |
//! |---|---|---|
//! | `sqlite:LABEL` | a SQLite that the host keeps | `LABEL` in `sqlite_databases` |
//! | `postgres://USER:PASSWORD@HOST/DATABASE` | a PostgreSQL | its host in `allowed_outbound_hosts` |
//!
//! A component keeps its SQL in one module (`sql.rs`), as constants that [`statement!`] makes for both dialects, and
//! reads rows in another; its migrations are in a folder a dialect. Everything else is the same for both.
//!
//! # Why this shape
//!
//! The host reuses instances, so the connection is kept from call to call. Statements use the interfaces' plain
//! functions: a statement is then one call that returns its rows as a list. The async functions return a stream and a
//! future, which cost two more crossings each, and no answer here is large enough to be worth a stream. Nothing waits
//! between the statements of a transaction but the database itself, so a transaction is a closure that is not async: a
//! component cannot hold the database's writer, or its locks, while it waits for another component.
//!
//! Values are those that SQLite has, as [`Value`]: null, integers, reals, texts and blobs. It is what both databases
//! can say without a table of types.
//!
//! # Where the dialects differ
//!
//! | | SQLite | PostgreSQL | so |
//! |---|---|---|---|
//! | parameters | `?1` | `$1` | write `?1`; [`statement!`] makes both |
//! | their types | any value goes anywhere | what the statement says: a column, an operator, a cast; a value must be of that kind (an integer fits each integer type), and null always is | cast what nothing says the type of: `(?2::text IS NULL OR owner = ?2)`; and a text that is to be something else: `?3::text::timestamptz` |
//! | truth | integers, with the words `true` and `false` | `boolean` | write the words; an index on `x = 1` serves only a statement that says `x = 1`, so such a condition is a piece with two texts; [`Row::boolean`] reads both |
//! | times | texts, `2024-02-27T15:50:27.545Z`, whose order is the order in time | `timestamptz(3)` | [`NOW`], [`ago!`] and [`time!`], which reads a column as that text |
//! | what is no time | any text is stored, `strftime` gives null | an error | check before it is a parameter |
//! | `max(a, b)`, `min(a, b)` | so | `greatest`, `least` | a piece with two texts |
//! | U+0000 in a text | stored | an error, 22021 | refuse it in what strangers send |
//! | a number beyond 64 bits in a text | a real | an error, 22003 | check before it is a parameter |
//! | who writes | one at a time, in transactions too | all at once | the next section |
//!
//! # Two at once
//!
//! On SQLite a transaction waits where it begins until it is the only one that writes: what it reads stays as it is
//! until it ends. On PostgreSQL transactions run at READ COMMITTED: each statement sees what was committed when it
//! began, and one that changes a row which another is changing waits for it, and then looks again whether that row
//! still fits its `WHERE`. It looks again at that row alone: a subquery over other rows keeps what it saw. So, for both:
//!
//! - Let one statement decide, and name in its `WHERE` the state that it starts from, as columns of the row that it
//!   changes. Then it needs no transaction.
//! - Where reading and writing are two statements, read the row that both turn upon with [`LOCKED`] first. Others who do
//!   the same wait there; statements after it see what they did.
//! - `INSERT ... ON CONFLICT` waits for another's insert of the same key, and then sees whether that stayed.
//! - Take locks in one order everywhere, and clean up with `FOR UPDATE SKIP LOCKED`, which never waits. Two that wait for
//!   each other all the same end as [`Error::Unavailable`].
//!
//! # When the answer is lost
//!
//! A connection can die, or a deadline end the call, when `COMMIT` was sent and its answer has not come. Then nobody
//! knows whether the transaction is stored; the error is [`Error::Unavailable`], as for one that surely is not. So
//! whoever does the same again must be able to: store with the change a key that the caller gave (an idempotency key, an
//! event's id) under a unique constraint, and answer the second call from what the first one left. That covers a caller
//! who got no answer at all, too.
//!
//! # What it refuses
//!
//! - To tell the caller what went wrong: what the database said goes to the log, the caller learns only whether the same
//!   call may succeed later.
//! - To run a transaction again by itself. What its closure did besides (a line in the log, a value that it took) is
//!   not undone, a second run would hold the instance longer just when the database is busy, and callers have to be able
//!   to repeat anyway, as the last section says.
//! - To go on in a transaction after a statement failed, or to begin one inside another.

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

/// Why a statement gave no answer. What the database said is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The database does not answer, is busy or full, lacks a table, or let another transaction go first: the same call
    /// may succeed later. Of a transaction: it may be stored even so.
    Unavailable,
    /// The database cannot be opened as the component is configured, refuses the statement, or holds what its schema
    /// rules out: someone must look at it.
    Internal,
}

thread_local! {
    /// The connection while no call uses it.
    static IDLE: Cell<Option<Connection>> = const { Cell::new(None) };
    /// What the variable says.
    static LOCATION: OnceCell<Location> = const { OnceCell::new() };
}

/// The database, for the time of one call. Dropping it keeps the connection for the next call of the instance, unless
/// a statement failed: then the connection is closed, and the next call opens another.
#[derive(Debug)]
pub struct Database {
    /// Absent only while it is dropped.
    connection: Option<Connection>,
    state: Cell<State>,
    failed: Cell<bool>,
}

impl Database {
    /// The component's database. Only an instance's first call waits for anything.
    ///
    /// # Errors
    /// [`Error::Internal`] when the variable is missing or names no database that the component was granted;
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

    /// A SQLite in memory, with the migrations run: for unit tests on this machine.
    ///
    /// # Panics
    /// When a migration fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn in_memory(migrations: &[&str]) -> Database {
        Database::over(Connection::Sqlite(native::Sqlite::in_memory(migrations)))
    }

    /// The PostgreSQL at `url`, with the migrations run: for unit tests on this machine.
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

    /// What the database speaks, for the few things that are better done in another way in each.
    pub fn dialect(&self) -> Dialect {
        self.connection.as_ref().map_or(Dialect::Sqlite, Connection::dialect)
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// Of SQLite, [`Error::Unavailable`] for whatever it says of a statement: `spin:sqlite` does not tell a busy
    /// database from a broken one. Of PostgreSQL, what the SQLSTATE says. In a transaction in which a statement failed,
    /// its error again; once the session is gone, [`Error::Unavailable`] until the call ends.
    pub fn query<'a>(&self, statement: impl Into<Statement<'a>>, parameters: &[Value]) -> Result<Rows, Error> {
        match self.state.get() {
            // PostgreSQL refuses it anyway, and SQLite would let half of a transaction be committed.
            State::Failed(error) => Err(error),
            State::Gone => Err(Error::Unavailable),
            State::None | State::Open => self.run(statement.into(), parameters),
        }
    }

    /// Runs `work` in a transaction that may write, and commits it. When `work` fails, or a statement did, nothing of
    /// it remains.
    ///
    /// # Errors
    /// Those of `work`, and the database's own. After [`Error::Unavailable`] from the commit nobody knows whether the
    /// transaction is stored ("When the answer is lost", at the top).
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
                _ if failure.lost => self.state.set(State::Gone),
                State::Open => self.state.set(State::Failed(failure.error)),
                State::None | State::Failed(_) | State::Gone => {}
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
