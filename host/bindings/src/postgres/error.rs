//! Errors, from PostgreSQL and the way to it.
//!
//! The case says what a caller can do:
//!
//! - `connection-failed`: there was no session, or it ended. Trying again later can help. Whether the statement ran is
//!   unknown when a session ended under it.
//! - `query-failed` with a `db-error`: PostgreSQL said no, and its SQLSTATE says why. The classes 40 (serialization,
//!   deadlock) and 55P03 (lock) are worth another try of the transaction. A server that refuses the login says so here,
//!   too (28P01, 3D000): trying again does not help.
//! - `bad-parameter`, `value-conversion-failed`: a value does not fit, one way or the other.
//! - `other`: not granted, or a use that the interface does not have.
//!
//! No text holds more of an address than host, port and database, which the guest gave.

use super::{Address, DbError, Error, QueryError};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

/// A statement that failed, and what is left of its session.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub session: After,
}

/// What is left of a session after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// PostgreSQL refused the statement. The session can go on, and its transaction has failed.
    Refused,
    /// Nothing has run.
    Untouched,
    /// The statement has succeeded, but its rows cannot be given.
    Done,
    /// It can go on, but what it prepared is out of date. The statement has not run.
    Stale,
    /// It is in the middle of the statement, whose rest nobody wants.
    Abandoned,
    /// It ended, or nobody knows where it stands.
    Gone,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let (error, session) = match error {
            sqlx::Error::Database(e) => match e.try_downcast::<PgDatabaseError>() {
                Ok(e) if matches!(e.severity(), PgSeverity::Fatal | PgSeverity::Panic) => {
                    (ended(&format!("{} (SQLSTATE {})", e.message(), e.code())), After::Gone)
                }
                Ok(e) => (Error::QueryFailed(QueryError::DbError(db_error(&e))), session_after(&e)),
                Err(e) => (failed(&e.to_string()), After::Gone),
            },
            sqlx::Error::Io(e) => (ended(&e.to_string()), After::Gone),
            sqlx::Error::Encode(e) => (Error::BadParameter(e.to_string()), After::Gone),
            sqlx::Error::Protocol(e) => (failed(&e), After::Gone),
            e => (failed(&e.to_string()), After::Gone),
        };
        Failure { error, session }
    }
}

/// A prepared statement can go out of date: its table changed, or somebody between here and PostgreSQL gave the session
/// away. Both are found before the statement runs.
fn session_after(e: &PgDatabaseError) -> After {
    match (e.code(), e.routine()) {
        ("0A000", Some("RevalidateCachedQuery")) | ("26000", _) => After::Stale,
        _ => After::Refused,
    }
}

fn ended(why: &str) -> Error {
    Error::ConnectionFailed(format!("the session with PostgreSQL ended: {why}"))
}

/// An error that is not PostgreSQL's own.
pub(super) fn failed(what: &str) -> Error {
    Error::QueryFailed(QueryError::Text(what.to_owned()))
}

/// Why there is no connection to `place`, which shows itself without its credentials.
pub(super) fn not_connected(place: &Address, error: sqlx::Error) -> Error {
    let cannot = |why: &dyn std::fmt::Display| Error::ConnectionFailed(format!("cannot connect to {place}: {why}"));
    match error {
        sqlx::Error::Database(e) => match e.try_downcast::<PgDatabaseError>() {
            // Too many connections; starting up or shutting down: it may be another next time.
            Ok(e) if matches!(e.code(), "53300" | "57P01" | "57P02" | "57P03") => cannot(&e.message()),
            Ok(e) => Error::QueryFailed(QueryError::DbError(db_error(&e))),
            Err(e) => cannot(&e),
        },
        sqlx::Error::Tls(e) => Error::Other(format!("cannot connect to {place}: TLS: {e}")),
        sqlx::Error::Configuration(e) => Error::Other(format!("cannot connect to {place}: {e}")),
        sqlx::Error::Io(e) => cannot(&e),
        e => cannot(&e),
    }
}

/// PostgreSQL's error, with every field that the interface has no place for under its name in Spin.
fn db_error(e: &PgDatabaseError) -> DbError {
    let text = |value: Option<&str>| value.map(str::to_owned);
    let position = match e.position() {
        Some(PgErrorPosition::Original(at)) => Some(at.to_string()),
        _ => None,
    };
    let extras = [
        ("column", text(e.column())),
        ("constraint", text(e.constraint())),
        ("routine", text(e.routine())),
        ("hint", text(e.hint())),
        ("table", text(e.table())),
        ("datatype", text(e.data_type())),
        ("schema", text(e.schema())),
        ("file", text(e.file())),
        ("line", e.line().map(|line| line.to_string())),
        ("where_", text(e.r#where())),
        ("position", position),
    ];
    let severity = severity(e.severity());
    let detail = e.detail().map(|detail| format!("; {detail}")).unwrap_or_default();
    DbError {
        as_text: format!("{severity}: {} (SQLSTATE {}){detail}", e.message(), e.code()),
        severity: severity.to_owned(),
        code: e.code().to_owned(),
        message: e.message().to_owned(),
        detail: text(e.detail()),
        extras: extras.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
    }
}

fn severity(severity: PgSeverity) -> &'static str {
    match severity {
        PgSeverity::Panic => "PANIC",
        PgSeverity::Fatal => "FATAL",
        PgSeverity::Error => "ERROR",
        PgSeverity::Warning => "WARNING",
        PgSeverity::Notice => "NOTICE",
        PgSeverity::Debug => "DEBUG",
        PgSeverity::Info => "INFO",
        PgSeverity::Log => "LOG",
    }
}
/// PostgreSQL's error as the older interfaces have it.
pub(super) fn text(error: QueryError) -> String {
    match error {
        QueryError::Text(text) => text,
        QueryError::DbError(error) => error.as_text,
    }
}

/// The name of an error, for measures: of PostgreSQL's own none but that, since there are hundreds.
pub(super) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::ConnectionFailed(_) => "connection-failed",
        Error::BadParameter(_) => "bad-parameter",
        Error::QueryFailed(_) => "query-failed",
        Error::ValueConversionFailed(_) => "value-conversion-failed",
        Error::Other(_) => "other",
    }
}
