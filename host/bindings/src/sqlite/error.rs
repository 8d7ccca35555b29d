//! Converts SQLite's errors to the interface's: with SQLite's own message, so that a constraint is named, and without
//! details of the host.

use super::Error;
use super::gauge::Gauge;
use crate::full::{Full, what_is_full};
use rusqlite::{Connection, ErrorCode};

/// Why a statement did not run to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The budget ran out (time, rows, bytes or the wait for a lock). Running it again with a larger budget helps.
    Overflow,
    /// The budget ran out before it was known whether the statement reads or writes.
    Unknown,
    /// Only a read was allowed, but the statement writes.
    Writes,
    /// SQLite's memory is used up, perhaps by another component's statement; running it again later may help.
    NoMemory,
    /// The caller no longer waits for the result.
    Cancelled,
    /// The guest gets this error.
    Failed(Error),
}

impl Stop {
    /// The guest's error when a run that keeps the whole result stopped.
    pub(super) fn of_whole(self) -> Error {
        match self {
            Stop::Failed(e) => e,
            Stop::Overflow => Error::Io(format!(
                "the result is larger than {} MiB; read it in pages, or as a stream outside a transaction",
                super::MAX_RESULT_BYTES >> 20
            )),
            Stop::NoMemory => Error::Io(
                "out of memory: SQLite's memory is used up; let the statement handle fewer or smaller values"
                    .to_owned(),
            ),
            Stop::Writes | Stop::Unknown | Stop::Cancelled => Error::Io("interrupted".to_owned()),
        }
    }
}

/// The guest's error when a part of the host failed; the details go to the host's log.
pub(super) fn internal(label: &str, what: &str, detail: impl std::fmt::Display) -> Error {
    tracing::error!(label, %detail, "sqlite: {what}");
    Error::Io(format!("the host could not serve database `{label}`: {what}"))
}

/// Converts SQLite's error to the interface's.
pub(super) fn to_guest(error: &rusqlite::Error, gauge: &Gauge, sqlite: &Connection) -> Error {
    match what_is_full(error, sqlite) {
        Some(Full::File) => Error::DatabaseFull,
        Some(Full::Disk) => {
            tracing::error!("sqlite: the disk of the state folder is full; fix: make room on it");
            Error::Io("the disk of the host is full".to_owned())
        }
        None => Error::Io(explain(error, gauge)),
    }
}

/// The name of an error, for metrics.
pub(super) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::NoSuchDatabase => "no-such-database",
        Error::AccessDenied => "access-denied",
        Error::InvalidConnection => "invalid-connection",
        Error::DatabaseFull => "database-full",
        Error::Io(_) => "io",
    }
}

/// SQLite's error as a sentence; for a denied statement it says what was denied, and why.
pub(crate) fn explain(error: &rusqlite::Error, gauge: &Gauge) -> String {
    let code = match error {
        rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
        other => other.sqlite_error_code(),
    };
    if code == Some(ErrorCode::AuthorizationForStatementDenied)
        && let Some(denied) = gauge.take_denied()
    {
        return format!("not authorized: {denied}");
    }
    match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } if *offset >= 0 => {
            format!("{msg} (at byte {offset} of the statement)")
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::MultipleStatement => "one statement at a time: the text holds several".to_owned(),
        other => other.to_string(),
    }
}

/// Whether [`explain`] wrote this about a statement that SQLite did not compile, because it does not fit the tables or
/// is not SQL. A violated constraint is no such error: many statements expect it.
pub(super) fn is_rejected(why: &str) -> bool {
    const BEGINNINGS: [&str; 6] =
        ["no such ", "near ", "incomplete input", "not authorized", "one statement at a time", "table "];
    why.ends_with(" of the statement)") || BEGINNINGS.iter().any(|beginning| why.starts_with(beginning))
}

/// The error of a statement that waited for too long, in SQLite's words.
pub(super) fn to_guest_busy(label: &str) -> Error {
    Error::Io(format!(
        "database is locked: `{label}` was in use by others for more than {} s",
        super::BUSY_TIMEOUT.as_secs()
    ))
}

/// The error of a read that was ended because it prevented emptying the write-ahead log, which may have `max_bytes`.
pub(super) fn to_guest_evicted(label: &str, max_bytes: u64) -> Error {
    Error::Io(format!(
        "the read was ended: others wrote more than {} MiB to `{label}` while it ran; read in pages, or faster",
        max_bytes >> 20
    ))
}

/// The error of a statement that wrote too much to temporary files.
pub(super) fn to_guest_spilled(max_bytes: u64) -> Error {
    Error::Io(format!(
        "the database's statements need more than {} MiB of temporary files; sort or group fewer rows, or add an index",
        max_bytes >> 20
    ))
}

/// The error of a component whose own statements kept one waiting for too long.
pub(super) fn to_guest_crowded() -> Error {
    Error::Io(format!(
        "{} statements of the component were running for more than {} s; run fewer at the same time, or shorter ones",
        super::MAX_STATEMENTS,
        super::BUSY_TIMEOUT.as_secs()
    ))
}
