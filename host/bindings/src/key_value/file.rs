//! A key-value store in a file: one SQLite file for each label, with one table, shared by all instances of the host.
//!
//! SQLite in WAL mode keeps the promises of the interfaces: a write is on disk (`synchronous = FULL`) before it is
//! acknowledged, a reader sees every write committed before it, and a transaction makes increment and compare-and-swap
//! atomic across all instances and processes.
//!
//! Reads run directly on the async thread: one lookup by primary key, of a value of limited size, takes a few
//! microseconds from the page cache, which is cheaper than switching to another thread. Writes wait for the disk, so
//! they run on the blocking pool, behind an async lock; writes that wait share a transaction
//! ([`commit`](super::commit)).
//!
//! A file cannot grow beyond [`MAX_FILE_BYTES`], and the log warns when it is nearly full; [`wal`] limits its
//! write-ahead log.

use super::commit::Waiting;
use super::error::StoreError;
use super::types::{KEYS_PAGE, MAX_BATCH_BYTES, MAX_FILE_BYTES, Page, Swap, Version, Versioned, add};
use crate::full::{Full, percent_used, what_is_full};
use crate::sqlite::wal::{self, Wal, WalFull};
use crate::sqlite::{FREE_AGAIN_PERCENT, NearlyFull};
use anyhow::Context as _;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

const PAGE_SIZE: u64 = 4096;

souk_manifest::fixed_limits! {
    /// The fixed limits of the key-value store in a file.
    pub(crate) const FIXED_LIMITS = "key-value: file";

    /// How long a write waits for another process that has locked the file, such as `souk call` beside a running host.
    const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long a read waits for another process, which happens only while that process recovers the file or exits. A
    /// read blocks a thread that serves other calls.
    const READ_BUSY_TIMEOUT: Duration = Duration::from_millis(50);
}

/// Every write draws a new random `version`. A compare-and-swap compares versions instead of values: they are smaller,
/// and they reveal that a value was changed and changed back. Handles do not outlive the process, so a random version
/// is as good as a counter, and needs none.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entry (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL
) STRICT, WITHOUT ROWID";
const UPSERT: &str = "INSERT INTO entry (key, value, version) VALUES (?1, ?2, random())
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::Database(error)
    }
}

/// A store in a file.
pub(super) struct File {
    reader: Arc<Mutex<Connection>>,
    writer: Arc<AsyncMutex<Connection>>,
    wal: Arc<Wal>,
    waiting: Arc<Waiting>,
    size: Arc<Size>,
}

/// How full the file is.
struct Size {
    label: String,
    path: PathBuf,
    /// The most bytes that the file may have.
    max_bytes: u64,
    nearly_full: NearlyFull,
}

impl Size {
    /// How many percent of the limit are in use, at most. Blocks on the disk. Only when the files are large does this
    /// count what is free in them.
    fn percent(&self, writer: &Connection, wal: &Wal) -> u64 {
        let file = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let both = file.saturating_add(wal.bytes()).saturating_mul(100) / self.max_bytes.max(1);
        if both < FREE_AGAIN_PERCENT { both } else { percent_used(writer).unwrap_or(both) }
    }

    /// Logs that the file is nearly full; once, until there is room again.
    fn note(&self, percent: u64) {
        if self.nearly_full.is_news(percent) {
            tracing::warn!(
                label = %self.label,
                "key-value store `{}` is nearly full: {percent} % of {} MiB are in use, and at 100 % its components \
                 can store nothing; fix: delete keys that nobody needs, or keep the store in Redis, NATS or MongoDB \
                 (`souk store copy` moves it)",
                self.label,
                self.max_bytes >> 20
            );
        }
    }
}

impl File {
    /// Opens the store `label` in the file `path`, and creates the file if it is missing. Blocks, so only for start-up.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a store; the message names the label and the path.
    pub(super) fn open(path: &Path, label: &str) -> anyhow::Result<Self> {
        Self::open_bounded(path, label, MAX_FILE_BYTES / PAGE_SIZE)
    }

    fn open_bounded(path: &Path, label: &str, max_pages: u64) -> anyhow::Result<Self> {
        Self::connect(path, max_pages)
            .map(|(reader, writer)| File {
                reader: Arc::new(Mutex::new(reader)),
                writer: Arc::new(AsyncMutex::new(writer)),
                wal: Arc::new(Wal::bounded(path, wal::MAX_WAL_BYTES.min(max_pages * PAGE_SIZE))),
                waiting: Arc::default(),
                size: Arc::new(Size {
                    label: label.to_owned(),
                    path: path.to_owned(),
                    max_bytes: max_pages * PAGE_SIZE,
                    nearly_full: NearlyFull::default(),
                }),
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
        wal::configure(&writer)?;
        let reader = Connection::open_with_flags(path, flags)?;
        reader.busy_timeout(READ_BUSY_TIMEOUT)?;
        reader.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")?;
        // With one plan for all values of its parameters, SQLite compiles a listing once.
        for connection in [&writer, &reader] {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        }
        Ok((reader, writer))
    }

    /// The value of `key` and its version.
    pub(super) fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        lookup(&self.read(), key)
    }

    /// Only the version of `key`; `None` when there is no such key.
    pub(super) fn version(&self, key: &str) -> Result<Option<Version>, StoreError> {
        version(&self.read(), key)
    }

    /// A page of keys in order, beginning after the key `after`. The cursor is the last key of the previous page, so it
    /// needs no state and cannot expire.
    pub(super) fn keys(&self, after: Option<&str>) -> Result<Page, StoreError> {
        let reader = self.read();
        // Two statements, so that each is one range of the index; the empty string is a key like any other.
        let (sql, after) = match after {
            Some(key) => ("SELECT key FROM entry WHERE key > ?1 ORDER BY key LIMIT ?2", key),
            None => ("SELECT key FROM entry WHERE key >= ?1 ORDER BY key LIMIT ?2", ""),
        };
        let mut statement = reader.prepare_cached(sql)?;
        let keys = statement.query_map(params![after, KEYS_PAGE as i64], |row| row.get(0))?;
        let keys = keys.collect::<rusqlite::Result<Vec<String>>>()?;
        let next = keys.last().filter(|_| keys.len() == KEYS_PAGE).cloned();
        Ok(Page { keys, next })
    }

    /// The values of `keys`, in their order.
    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        let reader = self.reader.clone();
        // A thousand lookups are too many for an async thread. The lock is taken for one key at a time, so that other
        // reads wait for at most one lookup.
        blocking(move || {
            let mut bytes = 0;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let value = lookup(&reader.lock(), &key)?.map(|(value, _)| value);
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

    /// Sets all `entries`, or none.
    pub(super) async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let mut upsert = tx.prepare_cached(UPSERT)?;
            for (key, value) in &entries {
                upsert.execute(params![key, value])?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes `keys`, all or none; a missing key is not an error.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
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
    pub(super) async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.write(move |tx| {
            let (sum, stored) = add(lookup(tx, &key)?.map(|(value, _)| value), delta)?;
            tx.prepare_cached(UPSERT)?.execute(params![key, stored])?;
            Ok(sum)
        })
        .await
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub(super) async fn swap(
        &self,
        key: String,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
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
        self.reader.lock()
    }

    /// Runs `work` in a transaction that holds the write lock from its start, possibly together with other waiting
    /// writes. The transaction is rolled back on an error. It is finished even if the caller goes away, so a write is
    /// never left half done.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut result = self.waiting.add(work);
        let mut writer = self.writer.clone().lock_owned().await;
        // The task that had the lock before may have run this write too.
        if let Some(result) = result.now() {
            return result;
        }
        let (wal, waiting, size) = (self.wal.clone(), self.waiting.clone(), self.size.clone());
        let percent = blocking(move || {
            // This process reads one key at a time, so there is no long read to cancel.
            let room = wal.keep_small(|| wal::empty(&writer, BUSY_TIMEOUT), || false);
            waiting.write(&mut writer, room.map_err(|WalFull| StoreError::LogFull), explain);
            Ok(size.percent(&writer, &wal))
        })
        .await?;
        self.size.note(percent);
        result.result().await
    }
}

/// Turns an error of a write into the one that names its cause.
fn explain(error: StoreError, writer: &Connection) -> StoreError {
    match error {
        StoreError::Database(error) => match what_is_full(&error, writer) {
            Some(Full::File) => StoreError::Full,
            Some(Full::Disk) => StoreError::DiskFull,
            None => StoreError::Database(error),
        },
        other => other,
    }
}

fn lookup(connection: &Connection, key: &str) -> Result<Option<Versioned>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value, version FROM entry WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn version(connection: &Connection, key: &str) -> Result<Option<Version>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT version FROM entry WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

impl FromSql for Version {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|version| Version(version.cast_unsigned().into()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Stopping))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
