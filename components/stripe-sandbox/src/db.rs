//! The connection to the database, one for the life of an instance, and transactions over it.

use crate::store::Fault;
use spin_sdk::sqlite::wit::sqlite::Connection;
use spin_sdk::sqlite::{RowResult, Value};
use std::cell::Cell;

/// The label under which the manifest grants the database.
const LABEL: &str = "stripe-sandbox";

thread_local! {
    /// The connection while no statement runs. It is taken out during a statement, so it cannot be borrowed twice.
    static CONNECTION: Cell<Option<Connection>> = const { Cell::new(None) };
}

/// Runs one statement, which is atomic by itself.
pub(crate) fn query(statement: &str, parameters: &[Value]) -> Result<Vec<RowResult>, Fault> {
    with(|connection| Ok(connection.execute(statement, parameters)?.rows))
}

/// Runs `work` in a transaction that holds the write lock from its start. If `work` fails, the transaction is rolled
/// back.
pub(crate) fn transaction<T>(
    work: impl FnOnce(&mut dyn FnMut(&str, &[Value]) -> Result<Vec<RowResult>, Fault>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    with(|connection| {
        connection.execute("BEGIN IMMEDIATE", &[])?;
        let result = work(&mut |statement, parameters| Ok(connection.execute(statement, parameters)?.rows))?;
        connection.execute("COMMIT", &[])?;
        Ok(result)
    })
}

/// Lends the connection. After a failure it is closed, which rolls back; the next call opens another one.
fn with<T>(work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let run = || {
        let connection = match CONNECTION.take() {
            Some(connection) => connection,
            None => Connection::open(LABEL)?,
        };
        let result = work(&connection)?;
        CONNECTION.set(Some(connection));
        Ok(result)
    };
    run().inspect_err(|Fault(error)| eprintln!("database `{LABEL}`: {error}"))
}
