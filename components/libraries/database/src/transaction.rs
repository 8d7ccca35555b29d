//! Transactions. They are a state of the [`Database`], as they are one of the session behind it.

use crate::{Database, Error, Statement};
use std::ops::Deref;

/// How a database stands to transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// There is none: each statement is one of its own.
    None,
    /// One is open.
    Open,
    /// One is open in which a statement failed: nothing of it may remain.
    Failed(Error),
    /// The session is gone, and nobody may go on as if it were there: what was to be in a transaction would not be.
    Gone,
}

/// IMMEDIATE: a transaction that begins as a reader and then writes fails when another wrote in between. The level is
/// named because a server, a database or a user may have another default.
const BEGIN: Statement<'static> = Statement::each("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED");

/// A transaction under way: statements are the database's own, so what reads takes a [`Database`] and serves both,
/// and what must be in a transaction takes this.
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
        // PostgreSQL answers the COMMIT of a transaction in which a statement failed with success, and rolls it back.
        // `query` answers with that statement's error.
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
            // Where this fails, the connection is closed, and the host rolls back.
            self.database.query("ROLLBACK", &[]).ok();
        }
    }
}
