//! Why a SQLite file cannot grow: it has reached its own limit, or the disk is full. SQLite has one error code for
//! both, but the fix differs.

use rusqlite::{Connection, ErrorCode};

/// An I/O error on a disk with fewer free bytes than this means that the disk is full.
const MIN_FREE_BYTES: u64 = 64 * 1024;

/// Whether the file or the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The file has the most pages that it may have.
    File,
    /// The disk.
    Disk,
}

/// What is full, according to an `error` of `connection`; `None` when the error means something else.
pub(crate) fn what_is_full(error: &rusqlite::Error, connection: &Connection) -> Option<Full> {
    let code = error.sqlite_error_code();
    if !matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)) {
        return None;
    }
    let free = connection.path().and_then(free);
    if code == Some(ErrorCode::SystemIoFailure) {
        return free.is_some_and(|free| free < MIN_FREE_BYTES).then_some(Full::Disk);
    }
    Some(decide(room(connection), free))
}

/// The smaller of the two stopped the write.
fn decide(room: Option<u64>, free: Option<u64>) -> Full {
    match (room, free) {
        (Some(room), Some(free)) if free < room => Full::Disk,
        (None, Some(free)) if free < MIN_FREE_BYTES => Full::Disk,
        _ => Full::File,
    }
}

/// The bytes by which the file of `connection` may still grow within its own limit.
fn room(connection: &Connection) -> Option<u64> {
    let (used, most) = pages(connection)?;
    Some(most.saturating_sub(used).saturating_mul(pragma(connection, "page_size")?))
}

/// How many percent of its own limit the file of `connection` uses; `None` when SQLite does not say.
pub(crate) fn percent_used(connection: &Connection) -> Option<u64> {
    let (used, most) = pages(connection)?;
    Some(used.saturating_mul(100) / most.max(1))
}

/// The pages with data in the file of `connection`, and how many it may have.
fn pages(connection: &Connection) -> Option<(u64, u64)> {
    let used = pragma(connection, "page_count")?.saturating_sub(pragma(connection, "freelist_count")?);
    Some((used, pragma(connection, "max_page_count")?))
}

fn pragma(connection: &Connection, name: &str) -> Option<u64> {
    let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0)).ok()?;
    value.try_into().ok()
}

/// The free bytes on the disk of the file at `path`, for the host's user.
fn free(path: &str) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_full_when_it_has_less_room_than_the_disk_and_the_disk_otherwise() {
        assert_eq!(decide(Some(0), Some(0)), Full::File);
        assert_eq!(decide(Some(4096), Some(1 << 30)), Full::File);
        assert_eq!(decide(Some(1 << 30), Some(4096)), Full::Disk);
        assert_eq!(decide(None, Some(0)), Full::Disk);
        assert_eq!(decide(None, None), Full::File);
    }

    #[test]
    fn a_file_at_its_bound_on_a_disk_with_room_is_what_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Connection::open(folder.path().join("small.db")).unwrap();
        sqlite.execute_batch("CREATE TABLE t (b); PRAGMA max_page_count = 16").unwrap();
        let error = sqlite.execute("INSERT INTO t VALUES (zeroblob(1000000))", []).unwrap_err();
        assert_eq!(what_is_full(&error, &sqlite), Some(Full::File));
        let error = sqlite.execute("INSERT INTO nowhere VALUES (1)", []).unwrap_err();
        assert_eq!(what_is_full(&error, &sqlite), None);
    }
}
