//! Connections on this machine, where there are no interfaces to import. Unit tests run components' statements,
//! transactions and decoders on them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::result_large_err, reason = "the interface's errors are as they are")]

mod postgres;
mod sqlite;

pub(crate) use postgres::Postgres;
pub(crate) use sqlite::Sqlite;
