//! Errors of PostgreSQL, and of connecting to it.
//!
//! The case of the error tells the caller what to do:
//!
//! - `connection-failed`: there was no session, or it ended. Trying again later can help. If the session ended while
//!   the statement ran, it is unknown whether the statement took effect.
//! - `query-failed` with a `db-error`: PostgreSQL refused the statement, and its SQLSTATE says why. After class 40
//!   (serialization, deadlock) and 55P03 (lock), try the transaction again. A refused login (28P01, 3D000) is reported
//!   here too; trying again does not help.
//! - `bad-parameter`, `value-conversion-failed`: a value cannot be converted in one direction or the other.
//! - `other`: the server is not granted, or the interface does not support this use.
//!
//! No text contains more of an address than host, port and database, which the guest gave itself.

use super::{Address, DbError, Error, QueryError};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

/// The error of a statement, and the state of its session.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub session: After,
}

/// The state of a session after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// PostgreSQL refused the statement. The session can go on, and its transaction has failed.
    Refused,
    /// Nothing has run.
    Untouched,
    /// The statement has succeeded, but its rows cannot be returned.
    Done,
    /// The session can go on, but its prepared statement is out of date. The statement has not run.
    Stale,
    /// The session is in the middle of the statement, and nobody wants the rest of its rows.
    Abandoned,
    /// The session ended, or its state is unknown.
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

/// A prepared statement can be out of date: its table changed, or a connection pooler gave the session to another
/// client. Both are noticed before the statement runs.
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

/// The error for a failed connection to `place`, which is shown without its credentials.
pub(super) fn not_connected(place: &Address, error: sqlx::Error) -> Error {
    let cannot = |why: &dyn std::fmt::Display| Error::ConnectionFailed(format!("cannot connect to {place}: {why}"));
    match error {
        sqlx::Error::Database(e) => match e.try_downcast::<PgDatabaseError>() {
            // Too many connections, or starting up or shutting down: the next attempt may succeed.
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

/// PostgreSQL's error; fields that the interface lacks are extras, under their names in Spin.
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
/// PostgreSQL's error as text, for the older interfaces.
pub(super) fn text(error: QueryError) -> String {
    match error {
        QueryError::Text(text) => text,
        QueryError::DbError(error) => error.as_text,
    }
}

/// What PostgreSQL said of a statement that does not fit the tables, is not SQL, or is not permitted (class 42 of
/// SQLSTATE). A violated constraint is no such error: many statements expect it.
pub(super) fn rejection(error: &Error) -> Option<&str> {
    match error {
        Error::QueryFailed(QueryError::DbError(error)) if error.code.starts_with("42") => Some(&error.as_text),
        _ => None,
    }
}

/// The name of an error, for metrics. All of PostgreSQL's own errors have one name, because there are hundreds.
pub(super) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::ConnectionFailed(_) => "connection-failed",
        Error::BadParameter(_) => "bad-parameter",
        Error::QueryFailed(_) => "query-failed",
        Error::ValueConversionFailed(_) => "value-conversion-failed",
        Error::Other(_) => "other",
    }
}
