//! The embedded key-value store: one SQLite file a label, one table in it, shared by every instance of the host.
//!
//! SQLite in WAL mode gives what the interfaces promise: a write is on disk (`synchronous = FULL`) before it is
//! acknowledged, a reader sees every write committed before it, and a transaction makes increment and compare-and-swap
//! atomic across all instances and processes.
//!
//! Reads run where they are called, on the async thread: one lookup by primary key, in the page cache a few
//! microseconds, of a value whose size is bounded, is cheaper than the hop to another thread. Writes wait for the disk,
//! so they run on the blocking pool, one at a time a store, behind an async lock.
//!
//! A store refuses long keys, large values, large batches and growth beyond [`MAX_FILE_SIZE`]. No error text holds a
//! path, a key or a value.

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// The longest key, in bytes of UTF-8; Spin documents the same bound.
pub const MAX_KEY: usize = 255;
/// The largest value in bytes; Spin documents 1 MB. It also bounds what an inline read costs.
pub const MAX_VALUE: usize = 1 << 20;
/// The most keys that one batch call may name.
pub const MAX_BATCH_KEYS: usize = 1_000;
/// The most bytes of values that one batch call may carry in or out: they are held in the host's memory at once.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// How many keys one page of a listing holds: at most 64 KiB, read in well under a millisecond.
pub const KEYS_PAGE: usize = 256;
/// The most that one store may hold on disk, in bytes.
pub const MAX_FILE_SIZE: u64 = 1 << 30;

const PAGE_SIZE: u64 = 4096;

/// How long a writer waits for another process that holds the file, for example `souk call` beside a running host.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a reader, which would block an async thread: in WAL mode only another process' recovery or exit makes
/// it wait at all.
const READ_BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// `version` is drawn anew by every write. A compare-and-swap compares it in place of the value, which is smaller and
/// also tells a value that was changed and changed back. Handles do not outlive the process, so random is as good as
/// counted, and needs no counter.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entry (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL
) STRICT, WITHOUT ROWID";
const UPSERT: &str = "INSERT INTO entry (key, value, version) VALUES (?1, ?2, random())
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";

/// Why an operation failed; the text is what the guest reads in `other(..)`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// See [`MAX_KEY`].
    #[error("the key is {0} bytes long, but a key may have at most {MAX_KEY}")]
    KeyTooLong(usize),
    /// See [`MAX_VALUE`].
    #[error("the value is {0} bytes long, but a value may have at most {MAX_VALUE}")]
    ValueTooLarge(usize),
    /// See [`MAX_BATCH_KEYS`].
    #[error("the batch has {0} keys, but may have at most {MAX_BATCH_KEYS}; split it")]
    BatchTooLong(usize),
    /// See [`MAX_BATCH_BYTES`].
    #[error("the values of the batch take more than {MAX_BATCH_BYTES} bytes; split it")]
    BatchTooLarge,
    /// See [`MAX_FILE_SIZE`].
    #[error("the store is full; delete keys to make room")]
    Full,
    /// An increment of something that is not a number.
    #[error("the value is not a number that `increment` has written (8 bytes, little endian)")]
    NotANumber,
    /// An increment beyond 64 bits.
    #[error("the number would leave the range of a signed 64-bit integer")]
    Overflow,
    /// SQLite failed; the cause is for the log, because it may name a path.
    #[error("the store failed; the host's log says why")]
    Database(#[source] rusqlite::Error),
    /// The host is stopping.
    #[error("the host is shutting down")]
    Stopping,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Database(error),
        }
    }
}

/// A value with the version to compare in a later [`Store::swap`].
pub type Versioned = (Vec<u8>, i64);

/// What a compare-and-swap did.
#[derive(Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Somebody else wrote the key first; this is its version now (`None`: the key is gone).
    Stale(Option<i64>),
}

/// One open store; shared by all instances of all components that it is granted to.
pub struct Store {
    label: String,
    reader: Arc<Mutex<Connection>>,
    writer: Arc<AsyncMutex<Connection>>,
}

impl Store {
    /// Opens the store `label` in the file `path`, which is made if it is missing. It blocks: for start-up.
    ///
    /// # Errors
    /// When the file cannot be opened or is no store; the message names the label and the path.
    pub fn open(path: &Path, label: &str) -> anyhow::Result<Self> {
        Self::open_bounded(path, label, MAX_FILE_SIZE / PAGE_SIZE)
    }

    fn open_bounded(path: &Path, label: &str, max_pages: u64) -> anyhow::Result<Self> {
        Self::connect(path, max_pages)
            .map(|(reader, writer)| Store {
                label: label.to_owned(),
                reader: Arc::new(Mutex::new(reader)),
                writer: Arc::new(AsyncMutex::new(writer)),
            })
            .with_context(|| format!("key-value store `{label}` cannot be opened in {}", path.display()))
    }

    fn connect(path: &Path, max_pages: u64) -> anyhow::Result<(Connection, Connection)> {
        // Only the host's user may read what components store; SQLite gives its journal the mode of the file.
        let mut file = std::fs::OpenOptions::new();
        file.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        file.open(path)?;

        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, flags)?;
        writer.busy_timeout(BUSY_TIMEOUT)?;
        writer.execute_batch(&format!(
            "PRAGMA page_size = {PAGE_SIZE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA max_page_count = {max_pages}; PRAGMA trusted_schema = OFF; {SCHEMA}"
        ))?;
        let reader = Connection::open_with_flags(path, flags)?;
        reader.busy_timeout(READ_BUSY_TIMEOUT)?;
        reader.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")?;
        Ok((reader, writer))
    }

    /// The label under which components open the store.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When the key is too long or SQLite fails; so for every operation below.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get_versioned(key)?.map(|(value, _)| value))
    }

    /// The value of `key` and its version.
    pub fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_key(key)?;
        lookup(&self.read(), key)
    }

    /// The version of `key` alone; `None` when there is no such key.
    pub fn version(&self, key: &str) -> Result<Option<i64>, StoreError> {
        check_key(key)?;
        version(&self.read(), key)
    }

    /// A page of keys in order, beginning after `after`; shorter than [`KEYS_PAGE`] only at the end.
    ///
    /// A listing of several pages is no snapshot: a key that is written meanwhile may or may not be in it.
    pub fn keys(&self, after: Option<&str>) -> Result<Vec<String>, StoreError> {
        let reader = self.read();
        // Two statements, so that each is one range of the index; the empty string is a key like any other.
        let (sql, after) = match after {
            Some(key) => ("SELECT key FROM entry WHERE key > ?1 ORDER BY key LIMIT ?2", key),
            None => ("SELECT key FROM entry WHERE key >= ?1 ORDER BY key LIMIT ?2", ""),
        };
        let mut statement = reader.prepare_cached(sql)?;
        let keys = statement.query_map(params![after, KEYS_PAGE as i64], |row| row.get(0))?;
        Ok(keys.collect::<rusqlite::Result<_>>()?)
    }

    /// The values of `keys`, in their order.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        check_batch(&keys)?;
        let reader = self.reader.clone();
        // A thousand lookups are too many for an async thread. The lock is taken a key at a time, so the inline
        // readers wait for one lookup at most.
        blocking(move || {
            let mut bytes = 0;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let value = lookup(&lock(&reader), &key)?.map(|(value, _)| value);
                bytes += value.as_ref().map_or(0, Vec::len);
                if bytes > MAX_BATCH_BYTES {
                    return Err(StoreError::BatchTooLarge);
                }
                found.push((key, value));
            }
            Ok(found)
        })
        .await
    }

    /// Sets `key` to `value`.
    pub async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        self.set_many(vec![(key, value)]).await
    }

    /// Sets all `entries`, or none.
    pub async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        check_batch_length(entries.len())?;
        for (key, value) in &entries {
            check_key(key)?;
            check_value(value)?;
        }
        if entries.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_BATCH_BYTES {
            return Err(StoreError::BatchTooLarge);
        }
        self.write(move |tx| {
            let mut upsert = tx.prepare_cached(UPSERT)?;
            for (key, value) in &entries {
                upsert.execute(params![key, value])?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes `keys`, all or none; one that is not there is no error.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        check_batch(&keys)?;
        self.write(move |tx| {
            let mut delete = tx.prepare_cached("DELETE FROM entry WHERE key = ?1")?;
            for key in &keys {
                delete.execute([key])?;
            }
            Ok(())
        })
        .await
    }

    /// Adds `delta` to the number under `key`, which is 0 when there is none, and returns the sum.
    ///
    /// The number is kept as Spin keeps it: 8 bytes, little endian.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        check_key(&key)?;
        self.write(move |tx| {
            let number = match lookup(tx, &key)? {
                Some((value, _)) => i64::from_le_bytes(value.try_into().map_err(|_| StoreError::NotANumber)?),
                None => 0,
            };
            let sum = number.checked_add(delta).ok_or(StoreError::Overflow)?;
            tx.prepare_cached(UPSERT)?.execute(params![key, sum.to_le_bytes()])?;
            Ok(sum)
        })
        .await
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub async fn swap(&self, key: String, expected: Option<i64>, value: Vec<u8>) -> Result<Swap, StoreError> {
        check_key(&key)?;
        check_value(&value)?;
        self.write(move |tx| {
            let now = version(tx, &key)?;
            if now != expected {
                return Ok(Swap::Stale(now));
            }
            tx.prepare_cached(UPSERT)?.execute(params![key, value])?;
            Ok(Swap::Done)
        })
        .await
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        lock(&self.reader)
    }

    /// Runs `work` in a transaction that holds the write lock from its start. It is rolled back on an error, and
    /// finished when the caller goes away: a write that has begun is never cut in half.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer.clone().lock_owned().await;
        blocking(move || {
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&tx)?;
            tx.commit()?;
            Ok(result)
        })
        .await
    }
}

fn lookup(connection: &Connection, key: &str) -> Result<Option<Versioned>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value, version FROM entry WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn version(connection: &Connection, key: &str) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT version FROM entry WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// A panic while the lock was held leaves a connection that SQLite keeps consistent, so poison means nothing here.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Stopping))
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() > MAX_KEY { Err(StoreError::KeyTooLong(key.len())) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE { Err(StoreError::ValueTooLarge(value.len())) } else { Ok(()) }
}

fn check_batch_length(keys: usize) -> Result<(), StoreError> {
    if keys > MAX_BATCH_KEYS { Err(StoreError::BatchTooLong(keys)) } else { Ok(()) }
}

fn check_batch(keys: &[String]) -> Result<(), StoreError> {
    check_batch_length(keys.len())?;
    keys.iter().try_for_each(|key| check_key(key))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
