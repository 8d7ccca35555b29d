//! Connections for native code, where there are no interfaces to import. Unit tests run the statements, transactions
//! and row readers of components with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::result_large_err, reason = "the interface's errors are as they are")]

mod postgres;
mod sqlite;

pub(crate) use postgres::Postgres;
pub(crate) use sqlite::Sqlite;
