//! One connection, to a database of either kind.
//!
//! It also classifies the errors of both and logs them.

use crate::bindings::postgres::{Error as PostgresError, ParameterValue, QueryError};
use crate::row::Rows;
use crate::{Dialect, Error, Statement, VARIABLE, Value};
use spin_sdk::sqlite::Error as SqliteError;

#[cfg(target_family = "wasm")]
use crate::bindings::postgres::Connection as Postgres;
#[cfg(not(target_family = "wasm"))]
use crate::native::{Postgres, Sqlite};
#[cfg(target_family = "wasm")]
use spin_sdk::sqlite::wit::sqlite::Connection as Sqlite;

/// The database that the variable names. It has no `Debug`, because a URL may contain a password.
#[derive(PartialEq)]
pub(crate) enum Location {
    /// The label of a granted database.
    Sqlite(String),
    /// The URL of a database that the component may reach.
    Postgres(String),
}

impl Location {
    /// Reads the variable's value.
    ///
    /// # Errors
    /// [`Error::Internal`] for any other URL.
    pub(crate) fn parse(url: String) -> Result<Location, Error> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Location::Postgres(url));
        }
        match url.strip_prefix("sqlite:") {
            Some(label) if !label.is_empty() => Ok(Location::Sqlite(label.to_owned())),
            // The value is not repeated, because it may contain a password.
            _ => {
                eprintln!(
                    "variable `{VARIABLE}` is not the URL of a database\n  fix: set it to `sqlite:LABEL`, with a label \
                     from sqlite_databases, or to `postgres://USER:PASSWORD@HOST/DATABASE`, with the host in \
                     allowed_outbound_hosts"
                );
                Err(Error::Internal)
            }
        }
    }
}

/// Why a statement returned no result.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the session and its transaction are lost, or may be.
    pub(crate) lost: bool,
}

#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Connection {
    pub(crate) fn open(location: &Location) -> Result<Connection, Error> {
        match location {
            Location::Sqlite(label) => Sqlite::open(label).map(Connection::Sqlite).map_err(|e| sqlite(&e)),
            Location::Postgres(url) => Postgres::open(url).map(Connection::Postgres).map_err(|e| postgres(&e).error),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) fn run(&self, statement: Statement<'_>, parameters: &[Value]) -> Result<Rows, Failure> {
        let text = statement.text(self.dialect());
        match self {
            Connection::Sqlite(connection) => connection
                .execute(text, parameters)
                .map(|result| Rows::from(result.rows))
                .map_err(|e| Failure { error: sqlite(&e), lost: false }),
            Connection::Postgres(connection) => {
                let parameters: Vec<_> = parameters.iter().map(parameter).collect();
                connection.query(text, &parameters).map(|result| Rows::from(result.rows)).map_err(|e| postgres(&e))
            }
        }
    }
}

fn parameter(value: &Value) -> ParameterValue {
    match value {
        Value::Integer(integer) => ParameterValue::Int64(*integer),
        Value::Real(real) => ParameterValue::Floating64(*real),
        Value::Text(text) => ParameterValue::Str(text.clone()),
        Value::Blob(bytes) => ParameterValue::Binary(bytes.clone()),
        Value::Null => ParameterValue::DbNull,
    }
}

/// `spin:sqlite` does not distinguish a busy database from a broken one. For a busy one the caller should call again
/// later, and for a broken one that does no harm.
#[cold]
fn sqlite(error: &SqliteError) -> Error {
    eprintln!("database: {error}");
    match error {
        SqliteError::Io(_) | SqliteError::DatabaseFull => Error::Unavailable,
        SqliteError::NoSuchDatabase | SqliteError::AccessDenied | SqliteError::InvalidConnection => Error::Internal,
    }
}

#[cold]
fn postgres(error: &PostgresError) -> Failure {
    let (error, lost) = match error {
        PostgresError::QueryFailed(QueryError::DbError(error)) => {
            // Without its detail, which repeats the refused row and with it perhaps a customer's data.
            eprintln!("database: {} {}: {}", error.severity, error.code, error.message);
            // After a fatal error the server ends the session.
            (class(&error.code), matches!(error.severity.as_str(), "FATAL" | "PANIC"))
        }
        PostgresError::ConnectionFailed(text) => {
            eprintln!("database: no connection: {text}");
            (Error::Unavailable, true)
        }
        // This text is the host's, not the server's: the server sent no answer, an unreadable one, or one that is too
        // large. Only the text says which; in most cases a later call helps.
        PostgresError::QueryFailed(QueryError::Text(text)) => {
            eprintln!("database: {text}");
            (Error::Unavailable, true)
        }
        // The component is not allowed to do this, or the value cannot be converted.
        PostgresError::BadParameter(text) | PostgresError::ValueConversionFailed(text) | PostgresError::Other(text) => {
            eprintln!("database: {text}");
            (Error::Internal, false)
        }
    };
    Failure { error, lost }
}

/// What a SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) means for the caller.
pub(crate) fn class(code: &str) -> Error {
    match code {
        // Another transaction won: serialization failure, statement completion unknown, deadlock, lock not available.
        "40001" | "40003" | "40P01" | "55P03" => Error::Unavailable,
        // The server accepts no writes, because another one is about to take over; or the transaction was idle for too
        // long.
        "25006" | "25P03" => Error::Unavailable,
        // A table is missing, although the migrations have run: the database is being restored, or it is the wrong one.
        // SQLite's error looks the same as an outage, so this counts as an outage too.
        "42P01" => Error::Unavailable,
        // Connection exception, insufficient resources (disk, memory, connections), operator intervention.
        _ if matches!(code.get(..2), Some("08" | "53" | "57")) => Error::Unavailable,
        _ => Error::Internal,
    }
}
