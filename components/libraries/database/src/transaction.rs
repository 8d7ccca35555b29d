//! Transactions. A transaction is a state of the [`Database`], because it is a state of the session behind it.

use crate::{Database, Error, Statement};
use std::ops::Deref;

/// The state of a database's session.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// No transaction: each statement is a transaction of its own.
    None,
    /// A transaction is open.
    Open,
    /// A transaction is open, and a statement in it has failed: it can only be rolled back.
    Failed(Error),
    /// The session is lost. Further statements are refused, because they would not run in the transaction to which they
    /// belong.
    SessionLost,
}

/// IMMEDIATE, because a transaction that begins as a reader and then writes fails if another one has written in
/// between. The isolation level is set explicitly, because a server, a database or a user may have another default.
const BEGIN: Statement<'static> = Statement::each("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED");

/// An open transaction. It derefs to [`Database`], so a function that only reads takes a [`Database`] and works with
/// both; a function that must run in a transaction takes this type.
#[derive(Debug)]
pub struct Transaction<'a> {
    database: &'a Database,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(database: &'a Database) -> Result<Transaction<'a>, Error> {
        if matches!(database.state.get(), State::Open | State::Failed(_)) {
            // SQLite would refuse the inner BEGIN; PostgreSQL would let the inner COMMIT end the outer transaction.
            eprintln!("database: a transaction cannot begin inside another");
            return Err(Error::Internal);
        }
        database.query(BEGIN, &[])?;
        database.state.set(State::Open);
        Ok(Transaction { database })
    }

    pub(crate) fn commit(self) -> Result<(), Error> {
        // If a statement has failed, PostgreSQL answers COMMIT with success but rolls back. So `query` returns that
        // statement's error instead.
        self.database.query("COMMIT", &[])?;
        self.database.state.set(State::None);
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if matches!(self.state.get(), State::Open | State::Failed(_)) {
            self.database.state.set(State::None);
            // If this fails, the connection is closed, and the host rolls back.
            self.database.query("ROLLBACK", &[]).ok();
        }
    }
}
