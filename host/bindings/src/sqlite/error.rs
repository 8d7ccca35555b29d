//! Errors, from SQLite to the interface: SQLite's own words, so that a constraint is named, and nothing of the host's.

use super::Error;
use super::gauge::Gauge;
use crate::full::{Full, what_is_full};
use rusqlite::{Connection, ErrorCode};

/// Why a statement did not run to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The budget ran out: of time, rows or bytes, or of patience with a lock. Running again with a larger one helps.
    Overflow,
    /// The same, and before it was known whether the statement reads or writes.
    Unknown,
    /// A read was asked for, and the statement writes.
    Writes,
    /// SQLite's memory is used up, perhaps by another's statement; running again later may help.
    NoMemory,
    /// Nobody waits for the answer.
    Gone,
    /// The guest gets this error.
    Failed(Error),
}

impl Stop {
    /// The guest's error when a run stopped that was to keep the whole result.
    pub(super) fn of_whole(self) -> Error {
        match self {
            Stop::Failed(e) => e,
            Stop::Overflow => Error::Io(format!(
                "the result is larger than {} MiB; read it in pages, or as a stream outside a transaction",
                super::MAX_RESULT_BYTES >> 20
            )),
            Stop::NoMemory => Error::Io(
                "out of memory: SQLite's is used up; let the statement handle fewer or smaller values".to_owned(),
            ),
            Stop::Writes | Stop::Unknown | Stop::Gone => Error::Io("interrupted".to_owned()),
        }
    }
}

/// What the guest is told when a part of the host failed; the details are in the host's log.
pub(super) fn internal(label: &str, what: &str, detail: impl std::fmt::Display) -> Error {
    tracing::error!(label, %detail, "sqlite: {what}");
    Error::Io(format!("the host could not serve database `{label}`: {what}"))
}

/// The interface's error for SQLite's.
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

/// The name of an error, for measures.
pub(super) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::NoSuchDatabase => "no-such-database",
        Error::AccessDenied => "access-denied",
        Error::InvalidConnection => "invalid-connection",
        Error::DatabaseFull => "database-full",
        Error::Io(_) => "io",
    }
}

/// SQLite's error in a sentence; for a denied statement what was denied and why.
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

/// The error of one who waited in vain, in SQLite's words.
pub(super) fn to_guest_busy(label: &str) -> Error {
    Error::Io(format!(
        "database is locked: `{label}` was in use by others for more than {} s",
        super::BUSY_TIMEOUT.as_secs()
    ))
}

/// The error of a read that was ended because it kept the write-ahead log, of at most `most` bytes, from being emptied.
pub(super) fn to_guest_evicted(label: &str, most: u64) -> Error {
    Error::Io(format!(
        "the read was ended: others wrote more than {} MiB to `{label}` while it ran; read in pages, or faster",
        most >> 20
    ))
}

/// The error of a statement that wrote too much to temporary files.
pub(super) fn to_guest_spilled(most: u64) -> Error {
    Error::Io(format!(
        "the database's statements need more than {} MiB of temporary files; sort or group fewer rows, or add an index",
        most >> 20
    ))
}

/// The error of a component that waited in vain for its own statements.
pub(super) fn to_guest_crowded() -> Error {
    Error::Io(format!(
        "{} statements of the component were under way for more than {} s; run fewer at one time, or shorter ones",
        super::MAX_STATEMENTS,
        super::BUSY_TIMEOUT.as_secs()
    ))
}
