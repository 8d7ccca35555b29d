//! Copying a SQLite database to another file.
//!
//! SQLite copies the pages in one transaction of the target. So an interrupted copy leaves the target as it was, and
//! the next one begins again. At the end all tables of both files are read and compared.

use super::sqlite::Source;
use super::{MoveError, Moved};
use rusqlite::Connection;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Copies the SQLite database in the file `from` to the file `to`, which must have no rows, and compares both. Blocks
/// on the disk.
///
/// # Errors
/// See [`MoveError`].
pub fn copy_file(from: &Path, to: &Path) -> Result<Vec<Moved>, MoveError> {
    let place = || to.display().to_string();
    let source_fault =
        |error: rusqlite::Error| MoveError::Source { file: from.display().to_string(), cause: error.to_string() };
    let target_fault = |error: rusqlite::Error| MoveError::Target { place: place(), cause: error.to_string() };
    let source = Source::open(from).map_err(source_fault)?;
    // Only its owner may read it; SQLite would create it readable for everybody.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(to);
    made.map_err(|error| MoveError::Target { place: place(), cause: error.to_string() })?;
    let held = Source::open(to).and_then(|mut held| held.table_with_rows()).map_err(target_fault)?;
    if let Some(table) = held {
        return Err(MoveError::NotEmpty { place: place(), table });
    }
    let mut target = Connection::open(to).map_err(target_fault)?;
    source.copy_into(&mut target).map_err(target_fault)?;
    target.close().map_err(|(_, error)| target_fault(error))?;
    let sums = source.sums().map_err(source_fault)?;
    let copied = Source::open(to).and_then(|copied| copied.sums()).map_err(target_fault)?;
    let mut moved = Vec::new();
    for (table, here) in sums {
        let there = copied.get(&table).copied().unwrap_or_default();
        if here != there {
            return Err(MoveError::Differs { table, here: here.rows, there: there.rows });
        }
        moved.push(Moved { table, rows: here.rows });
    }
    Ok(moved)
}
