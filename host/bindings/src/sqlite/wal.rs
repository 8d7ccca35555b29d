//! Limits the size of a write-ahead log.
//!
//! SQLite reuses its log from the start only when a checkpoint has copied all of it and no reader needs it. If readers
//! overlap, so that one is always running, the log grows with every write. So its owner checks its size around each
//! write: beyond [`MAX_WAL_BYTES`] it ends the oldest reads until the log can be emptied. A reader in another program
//! (a backup) cannot be ended: beyond [`REFUSED_AT`] times the limit, writes are refused instead.
//!
//! One transaction may exceed the limit by what it writes; the limit on the database's size limits this in turn.

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of write-ahead logs.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// The size of the write-ahead log at which SQLite copies it to the database after a commit: 4 MiB, SQLite's
    /// default, which keeps both the copying and the log's index small.
    pub const CHECKPOINT_PAGES: i64 = 1_000, "pages";
    /// The log's file shrinks to this size when it starts again: four checkpoints, so that it need not grow under a
    /// steady load.
    pub const KEPT_WAL_BYTES: i64 = 16 << 20, bytes;
    /// The log's size at which readers that keep it from starting again are ended: a sixteenth of the largest database.
    pub const MAX_WAL_BYTES: u64 = 64 << 20, bytes;
    /// Writes are refused when the log has this many times that size.
    pub const REFUSED_AT: u64 = 4, "times";
    /// How long one attempt to empty the log waits for readers; a short read ends in this time.
    const CHECKPOINT_WAIT: Duration = Duration::from_millis(50);
}

/// The log is full, and readers of another program prevent emptying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFull;

/// The log of one database file.
#[derive(Debug)]
pub struct Wal {
    path: PathBuf,
    max_bytes: u64,
    /// The size at which emptying is tried again after it failed.
    next_try: AtomicU64,
}

impl Wal {
    /// The log of the database at `path`.
    pub fn of(path: &Path) -> Self {
        Self::bounded(path, MAX_WAL_BYTES)
    }

    /// As [`of`](Self::of), with another limit.
    pub fn bounded(path: &Path, max_bytes: u64) -> Self {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Wal { path: wal.into(), max_bytes, next_try: AtomicU64::new(max_bytes) }
    }

    /// The size of the file; 0 when there is none.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The most bytes before readers are ended.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Empties the log when it exceeds its limit. `empty` runs a checkpoint and returns whether the log was emptied;
    /// `end_reader` ends the oldest read of this process, and returns whether there was one. Neither is called while
    /// the log is small, or has hardly grown since the last failed attempt. Blocks.
    ///
    /// # Errors
    /// When the log has [`REFUSED_AT`] times its limit: then nothing may be written.
    pub fn keep_small(
        &self,
        mut empty: impl FnMut() -> rusqlite::Result<bool>,
        mut end_reader: impl FnMut() -> bool,
    ) -> Result<(), WalFull> {
        let bytes = self.bytes();
        if bytes <= self.max_bytes || bytes < self.next_try.load(Ordering::Relaxed) {
            return Ok(());
        }
        loop {
            match empty() {
                Ok(true) => {
                    self.next_try.store(self.max_bytes, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(file = %self.path.display(), %error, "sqlite: a checkpoint failed"),
            }
            if !end_reader() {
                break;
            }
        }
        let bytes = self.bytes();
        let refused_at = self.max_bytes.saturating_mul(REFUSED_AT);
        self.next_try.store(refused_at.min(bytes.saturating_add(self.max_bytes / 4)), Ordering::Relaxed);
        tracing::warn!(
            file = %self.path.display(), bytes,
            "another program reads this database and keeps its write-ahead log from being emptied; end that program"
        );
        if bytes >= refused_at { Err(WalFull) } else { Ok(()) }
    }
}

/// Copies all of the log to the database and empties it; `false` when readers prevent it. For a connection outside a
/// transaction.
///
/// # Errors
/// SQLite's error, when the disk fails.
pub fn empty(sqlite: &Connection, busy_timeout: Duration) -> rusqlite::Result<bool> {
    sqlite.busy_timeout(CHECKPOINT_WAIT)?;
    let busy = sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    sqlite.busy_timeout(busy_timeout)?;
    match busy {
        Ok(busy) => Ok(busy == 0),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The settings of a connection that writes to a log.
///
/// # Errors
/// When SQLite refuses a setting.
pub fn configure(sqlite: &Connection) -> rusqlite::Result<()> {
    for (name, value) in [("wal_autocheckpoint", CHECKPOINT_PAGES), ("journal_size_limit", KEPT_WAL_BYTES)] {
        sqlite.pragma_update_and_check(None, name, value, |_| Ok(()))?;
    }
    Ok(())
}
