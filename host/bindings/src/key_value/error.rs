//! Why an operation on a store failed. No text holds a path, an address, a key or a value.

use super::{MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_KEY_BYTES};
use std::sync::Arc;

/// A place on a server that exists, and cannot be used as a store.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Unfit {
    /// Why.
    pub(super) why: String,
    /// What would fix it.
    pub(super) fix: String,
}

/// Why an operation failed; the text is what the guest reads in `other(..)`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// See [`MAX_KEY_BYTES`].
    #[error("the key is {0} bytes long, but a key may have at most {MAX_KEY_BYTES}")]
    KeyTooLong(usize),
    /// See [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES) and [`Store::max_value`](super::Store::max_value).
    #[error("the value is {size} bytes long, but a value may have at most {most}")]
    ValueTooLarge {
        /// The value's size in bytes.
        size: usize,
        /// The largest value of the store, in bytes.
        most: usize,
    },
    /// See [`MAX_BATCH_KEYS`].
    #[error("the batch has {0} keys, but may have at most {MAX_BATCH_KEYS}; split it")]
    BatchTooLong(usize),
    /// See [`MAX_BATCH_BYTES`].
    #[error("the values of the batch take more than {MAX_BATCH_BYTES} bytes; split it")]
    BatchTooLarge,
    /// See [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES) and [`MAX_BUCKET_BYTES`](super::MAX_BUCKET_BYTES), and
    /// [`StreamCapacity`](souk_nats::stream_capacity::StreamCapacity); or the server's own limit.
    #[error("the store is full; delete keys to make room")]
    Full,
    /// See [`WalFull`](crate::sqlite::wal::WalFull).
    #[error("another program reads the store's file and keeps its log from being emptied; end that program")]
    LogFull,
    /// The disk of the state folder.
    #[error("the disk of the host is full, and the value is not stored")]
    DiskFull,
    /// An increment of something that is not a number.
    #[error("the value is not a number that `increment` has written")]
    NotANumber,
    /// An increment beyond 64 bits.
    #[error("the number would leave the range of a signed 64-bit integer")]
    Overflow,
    /// A cursor that no listing of this store has returned.
    #[error("the cursor is not one that a listing of this store has returned")]
    Cursor,
    /// SQLite failed; the cause is for the log, because it may name a path.
    #[error("the store failed; the host's log says why")]
    Database(#[source] rusqlite::Error),
    /// The server that keeps the store failed or gave no answer; the cause is for the log.
    #[error("the key-value store `{label}` is not available; what was being written may or may not be in it")]
    Server {
        /// The store.
        label: Arc<str>,
        /// What the server or the client said.
        cause: String,
    },
    /// The error of an operation in the recording, or the reason why its replay ends.
    #[error("{0}")]
    Recorded(String),
    /// The host is stopping.
    #[error("the host is shutting down")]
    Stopping,
}

impl StoreError {
    /// Its name, for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            StoreError::KeyTooLong(_) => "key-too-long",
            StoreError::ValueTooLarge { .. } => "value-too-large",
            StoreError::BatchTooLong(_) | StoreError::BatchTooLarge => "batch-too-large",
            StoreError::Full => "store-full",
            StoreError::LogFull => "log-full",
            StoreError::DiskFull => "disk-full",
            StoreError::NotANumber | StoreError::Overflow => "not-a-number",
            StoreError::Cursor => "cursor",
            StoreError::Database(_) => "database",
            StoreError::Server { .. } => "server",
            StoreError::Recorded(_) => "recorded",
            StoreError::Stopping => "stopping",
        }
    }

    /// The message of SQLite or the server; only for the log.
    pub fn cause(&self) -> Option<String> {
        match self {
            StoreError::Database(cause) => Some(cause.to_string()),
            StoreError::DiskFull => Some("the disk of the state folder is full: make room on it".to_owned()),
            StoreError::Server { cause, .. } => Some(cause.clone()),
            _ => None,
        }
    }
}
