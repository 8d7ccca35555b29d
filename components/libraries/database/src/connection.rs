//! One connection, to either kind of database.
//!
//! What the two say when they refuse is told apart here, and goes to the log.

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

/// Where the database is, as the variable says. No `Debug`: an address may hold a password.
#[derive(PartialEq)]
pub(crate) enum Location {
    /// The label of a granted database.
    Sqlite(String),
    /// The URL of a database that the component may reach.
    Postgres(String),
}

impl Location {
    /// # Errors
    /// [`Error::Internal`] for what is neither.
    pub(crate) fn parse(url: String) -> Result<Location, Error> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Location::Postgres(url));
        }
        match url.strip_prefix("sqlite:") {
            Some(label) if !label.is_empty() => Ok(Location::Sqlite(label.to_owned())),
            // The value is not repeated, as it may hold a password.
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

/// Why a statement gave no answer.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the session is gone, and its transaction with it; or nobody knows.
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

/// `spin:sqlite` does not tell a busy database from a broken one, and calling again later is right for the one and does
/// no harm for the other.
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
            // Not its detail, which repeats the row that was refused: that may be a customer's.
            eprintln!("database: {} {}: {}", error.severity, error.code, error.message);
            // After a fatal error the server ends the session.
            (class(&error.code), matches!(error.severity.as_str(), "FATAL" | "PANIC"))
        }
        PostgresError::ConnectionFailed(text) => {
            eprintln!("database: no connection: {text}");
            (Error::Unavailable, true)
        }
        // Not the server's words: it has said none, none that could be read, or more than a result may hold. Which of
        // them, the text alone knows; asking again later is right for most.
        PostgresError::QueryFailed(QueryError::Text(text)) => {
            eprintln!("database: {text}");
            (Error::Unavailable, true)
        }
        // Something that the component may not do, or cannot say.
        PostgresError::BadParameter(text) | PostgresError::ValueConversionFailed(text) | PostgresError::Other(text) => {
            eprintln!("database: {text}");
            (Error::Internal, false)
        }
    };
    Failure { error, lost }
}

/// What a SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) means for whoever asked.
pub(crate) fn class(code: &str) -> Error {
    match code {
        // The transaction lost against others: serialization failure, statement completion unknown, deadlock, lock not
        // available.
        "40001" | "40003" | "40P01" | "55P03" => Error::Unavailable,
        // The server takes no writes: another one is about to take over. A transaction was left alone for too long.
        "25006" | "25P03" => Error::Unavailable,
        // A table is not there, which was when the migrations ran: the database is being restored, or is the wrong one.
        // SQLite's refusal cannot be told from an outage, so this is one too.
        "42P01" => Error::Unavailable,
        // Connection exception, insufficient resources (disk, memory, connections), operator intervention.
        _ if matches!(code.get(..2), Some("08" | "53" | "57")) => Error::Unavailable,
        _ => Error::Internal,
    }
}
