//! Snapshots of several SQLite files at the same moment.
//!
//! First it takes every file's write lock, so that no write transaction is open anywhere. Then it opens a snapshot of
//! each file, which a reader can keep for as long as it likes. Then it releases the locks. Writers wait for that time:
//! usually some milliseconds, [`PAUSE_TIMEOUT`] at most. A component that holds one database's lock and waits for
//! another's would make this wait for ever, so the whole attempt has a timeout.
//!
//! It uses only SQLite's own locks, so it works with or without a running host.

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of the moment of a backup.
    pub(crate) const FIXED_LIMITS = "backup";

    /// How long writers wait at most for a backup; a backup that has not locked all files by then gives up.
    const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);
}

/// The snapshots could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A transaction did not end in time.
    #[error(
        "{} has been written to by one transaction for {} s\n  fix: try again; a component that keeps a transaction \
         open for so long delays others too",
        path.display(),
        PAUSE_TIMEOUT.as_secs()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A file is damaged.
    #[error("{} is damaged: {error}\n  fix: keep the last good backup; `sqlite3 FILE .recover` saves what can be read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// A file cannot be opened.
    #[error("{} cannot be read: {error}\n  fix: give this user the right to read and write the state folder, as the \
             host has", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
}

/// The state of a file at the moment of the backup, for as long as this value lives.
pub(super) struct Snapshot {
    /// Its paths in a state folder: several when they name one file.
    pub places: Vec<String>,
    /// The file.
    pub path: PathBuf,
    /// A connection with an open read transaction.
    pub reader: Connection,
}

/// Opens a snapshot of each of `files`, all at the same moment. Blocks.
///
/// # Errors
/// When a file cannot be opened, or the locks cannot be taken in time.
pub(super) fn take(files: &BTreeMap<String, PathBuf>) -> Result<Vec<Snapshot>, SnapshotError> {
    let mut snapshots: Vec<Snapshot> = Vec::new();
    let mut known: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for (place, path) in files {
        // Two labels may name the same file, which has only one lock.
        let identity = std::fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap_or_default();
        if let Some(same) = known.get(&identity).and_then(|i| snapshots.get_mut(*i)) {
            same.places.push(place.clone());
            continue;
        }
        known.insert(identity, snapshots.len());
        let reader = open(path)?;
        snapshots.push(Snapshot { places: vec![place.clone()], path: path.clone(), reader });
    }
    let mut gates = Vec::new();
    for snapshot in &snapshots {
        gates.push((open(&snapshot.path)?, &snapshot.path));
    }
    let deadline = Instant::now() + PAUSE_TIMEOUT;
    let mut held = Vec::new();
    for (gate, path) in &mut gates {
        let failed = |error| failure(path, error);
        let left = deadline.saturating_duration_since(Instant::now());
        gate.busy_timeout(left).map_err(failed)?;
        held.push(gate.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?);
    }
    for snapshot in &snapshots {
        let failed = |error| failure(&snapshot.path, error);
        snapshot.reader.execute_batch("BEGIN").map_err(failed)?;
        // SQLite takes the snapshot at the first read.
        let read = snapshot.reader.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        read.map_err(failed)?;
    }
    // This rolls back; nothing was written.
    drop(held);
    Ok(snapshots)
}

fn open(path: &Path) -> Result<Connection, SnapshotError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| failure(path, error))
}

fn failure(path: &Path, error: rusqlite::Error) -> SnapshotError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SnapshotError::Busy { path: path.to_owned() },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            SnapshotError::Damaged { path: path.to_owned(), error }
        }
        _ => SnapshotError::Unreadable { path: path.to_owned(), error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn databases(folder: &Path) -> BTreeMap<String, PathBuf> {
        let make = |name: &str| {
            let path = folder.join(name);
            let database = Connection::open(&path).unwrap();
            database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER)").unwrap();
            (name.to_owned(), path)
        };
        ["a.db", "b.db"].map(make).into()
    }

    fn count(database: &Connection) -> i64 {
        database.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_one_writer_does_to_two_files_in_turn_is_cut_at_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let files = databases(folder.path());
        let done = Arc::new(AtomicBool::new(false));
        let (stop, paths) = (done.clone(), files.clone());
        let writer = std::thread::spawn(move || {
            let [a, b] = ["a.db", "b.db"].map(|name| Connection::open(&paths[name]).unwrap());
            while !stop.load(Ordering::Relaxed) {
                a.execute_batch("INSERT INTO t VALUES (1)").unwrap();
                b.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            }
        });
        for _ in 0..20 {
            let snapshots = take(&files).unwrap();
            let [a, b] = snapshots.as_slice() else { panic!("two files") };
            let (a, b) = (count(&a.reader), count(&b.reader));
            assert!(a == b || a == b + 1, "a row of the second file without the first's: {a} and {b}");
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    }

    #[test]
    fn a_transaction_that_stays_open_ends_the_attempt_and_leaves_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let files = databases(folder.path());
        let holder = Connection::open(&files["b.db"]).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let Err(SnapshotError::Busy { path }) = take(&files) else { panic!("the lock was taken twice") };
        assert_eq!(path, files["b.db"]);
        Connection::open(&files["a.db"]).unwrap().execute_batch("INSERT INTO t VALUES (1)").unwrap();
    }

    #[test]
    fn a_file_that_is_no_database_is_reported_as_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let files = databases(folder.path());
        std::fs::write(&files["b.db"], "no database, but long enough to have the header of one".repeat(100)).unwrap();
        let Err(SnapshotError::Damaged { path, .. }) = take(&files) else { panic!("it was read") };
        assert_eq!(path, files["b.db"]);
    }

    #[test]
    fn a_file_with_two_names_is_one_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = databases(folder.path());
        files.insert("c.db".into(), files["a.db"].clone());
        let snapshots = take(&files).unwrap();
        assert_eq!(snapshots.iter().map(|s| s.places.len()).collect::<Vec<_>>(), [2, 1]);
    }
}
