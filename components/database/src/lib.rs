//! A component's database: statements in, rows out, transactions that roll back unless they end well.
//!
//! The component's variable `database_url` says which database that is: `sqlite:LABEL` is the one that the manifest
//! grants under `LABEL` in `sqlite_databases`. A component keeps its SQL in one module (`sql.rs`), as far as it is one
//! dialect's; everything else about the database that depends on its kind is here.
//!
//! # Why this shape
//!
//! The host reuses instances, so the connection is kept from call to call, and the variable is read once in an
//! instance's life. Statements use `spin:sqlite`'s plain functions: a statement is then one call that returns its rows
//! as a list. The async functions return a stream and a future, which cost two more crossings each, and no answer here
//! is large enough to be worth a stream. Nothing waits between the statements of a transaction but the database
//! itself, so a transaction is a closure that is not async: a component cannot hold the database's writer while it
//! waits for another component.
//!
//! Parameters are `?1`, `?2`, ... and values are [`Value`]: null, integers, reals, texts and blobs.
//!
//! # What it refuses
//!
//! To tell the caller what went wrong: what the database said goes to the log, the caller learns only whether the same
//! call may succeed later.

#[cfg(not(target_family = "wasm"))]
mod native;
mod row;

pub use row::{Row, Rows};
pub use spin_sdk::sqlite::Value;

#[cfg(not(target_family = "wasm"))]
use native::Connection;
use spin_sdk::sqlite::Error as SqliteError;
#[cfg(target_family = "wasm")]
use spin_sdk::sqlite::wit::sqlite::Connection;
use std::cell::{Cell, OnceCell};
use std::ops::Deref;

/// The variable that names the database.
const VARIABLE: &str = "database_url";

/// Why a statement gave no answer. What the database said is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The database does not answer, is busy or full: the same call may succeed later.
    Unavailable,
    /// The database cannot be opened as the component is configured, or holds what its schema rules out: someone must
    /// look at it.
    Internal,
}

thread_local! {
    /// The connection while no call uses it.
    static IDLE: Cell<Option<Connection>> = const { Cell::new(None) };
    /// The label that the variable named.
    static LABEL: OnceCell<String> = const { OnceCell::new() };
}

/// The database, for the time of one call. Dropping it keeps the connection for the next call of the instance, unless
/// a statement failed: then the connection is closed, and the next call opens another.
#[derive(Debug)]
pub struct Database {
    /// Absent only while it is dropped.
    connection: Option<Connection>,
    failed: Cell<bool>,
}

impl Database {
    /// The component's database. Only an instance's first call waits for anything.
    ///
    /// # Errors
    /// [`Error::Internal`] when the variable is missing or names no database that the component was granted.
    pub async fn open() -> Result<Database, Error> {
        match IDLE.take() {
            Some(connection) => Ok(Database::over(connection)),
            None => Database::connect().await,
        }
    }

    #[cold]
    async fn connect() -> Result<Database, Error> {
        if LABEL.with(|label| label.get().is_none()) {
            let url = spin_sdk::variables::get(VARIABLE).await.map_err(|e| {
                eprintln!("variable `{VARIABLE}`: {e}");
                Error::Internal
            })?;
            let label = label(&url)?;
            LABEL.with(|cell| cell.set(label.to_owned())).ok();
        }
        LABEL
            .with(|label| Connection::open(label.get().map_or("", String::as_str)))
            .map(Database::over)
            .map_err(refused)
    }

    /// A database in memory, with the migrations run: for unit tests on this machine.
    ///
    /// # Panics
    /// When a migration fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn in_memory(migrations: &[&str]) -> Database {
        Database::over(Connection::in_memory(migrations))
    }

    fn over(connection: Connection) -> Database {
        Database { connection: Some(connection), failed: Cell::new(false) }
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for whatever SQLite says of a statement: `spin:sqlite` does not tell a busy database from
    /// a broken one, and calling again later is right for the one and does no harm for the other.
    pub fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
        let Some(connection) = &self.connection else { return Err(Error::Internal) };
        match connection.execute(statement, parameters) {
            Ok(result) => Ok(Rows::new(result.rows)),
            Err(e) => {
                self.failed.set(true);
                Err(refused(e))
            }
        }
    }

    /// Runs `work` in a transaction that may write, and commits it. When `work` fails, or the commit does, nothing of
    /// it remains.
    ///
    /// Writers wait for each other where they begin, so what `work` reads stays as it is until it ends.
    ///
    /// # Errors
    /// Those of `work`, and the database's own.
    pub fn transaction<T, E: From<Error>>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        // IMMEDIATE: a transaction that begins as a reader and then writes fails when another wrote in between.
        self.query("BEGIN IMMEDIATE", &[])?;
        let mut transaction = Transaction { database: self, open: true };
        let value = work(&transaction)?;
        self.query("COMMIT", &[])?;
        transaction.open = false;
        Ok(value)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.failed.get() {
            IDLE.set(self.connection.take());
        }
    }
}

/// A transaction under way: statements are the database's own, so what reads takes a [`Database`] and serves both,
/// and what must be in a transaction takes this.
#[derive(Debug)]
pub struct Transaction<'a> {
    database: &'a Database,
    open: bool,
}

impl Deref for Transaction<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Where the rollback fails too, the connection is closed, and the host rolls back.
        if self.open {
            self.database.query("ROLLBACK", &[]).ok();
        }
    }
}

/// The label in a `database_url`.
fn label(url: &str) -> Result<&str, Error> {
    match url.strip_prefix("sqlite:") {
        Some(label) if !label.is_empty() => Ok(label),
        // The value is not repeated: a URL may hold a password.
        _ => {
            eprintln!("variable `{VARIABLE}` must be `sqlite:LABEL`, with a label from sqlite_databases");
            Err(Error::Internal)
        }
    }
}

/// Logs what the database said and keeps only what a caller can act on.
fn refused(error: SqliteError) -> Error {
    eprintln!("database: {error}");
    match error {
        SqliteError::Io(_) | SqliteError::DatabaseFull => Error::Unavailable,
        SqliteError::NoSuchDatabase | SqliteError::AccessDenied | SqliteError::InvalidConnection => Error::Internal,
    }
}

#[cfg(test)]
mod tests;
