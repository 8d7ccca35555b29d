//! The connection to the database: one for the life of an instance, as the host reuses instances.
//!
//! It uses `spin:sqlite`'s plain functions: a statement is then one call that returns its rows as a list. The async
//! functions return a stream and a future, which cost two more crossings each, and no answer here is large enough to
//! be worth a stream.

use crate::bindings::catalog::Error;
use spin_sdk::sqlite::wit::sqlite::Connection;
use spin_sdk::sqlite::{Error as SqliteError, RowResult, Value};
use std::cell::Cell;

/// The label under which the manifest grants the database.
const LABEL: &str = "products";

thread_local! {
    /// The connection while no query runs. A cell that is emptied during a query cannot be borrowed twice.
    static CONNECTION: Cell<Option<Connection>> = const { Cell::new(None) };
}

/// Runs one statement and returns its rows. A connection that failed is closed: the next call opens another.
pub fn query(statement: &str, parameters: &[Value]) -> Result<Vec<RowResult>, Error> {
    let run = || {
        let connection = match CONNECTION.take() {
            Some(connection) => connection,
            None => Connection::open(LABEL)?,
        };
        let result = connection.execute(statement, parameters)?;
        CONNECTION.set(Some(connection));
        Ok(result.rows)
    };
    run().map_err(refused)
}

/// Logs what the database said and tells the caller only what it can act on.
fn refused(error: SqliteError) -> Error {
    eprintln!("database `{LABEL}`: {error}");
    match error {
        SqliteError::Io(_) | SqliteError::DatabaseFull => {
            Error::Unavailable("the catalogue's database does not answer".into())
        }
        SqliteError::NoSuchDatabase | SqliteError::AccessDenied | SqliteError::InvalidConnection => {
            Error::Internal("the catalogue cannot open its database".into())
        }
    }
}
