//! The folder of the copy of a database in which migrations are tried.
//!
//! It is removed with its value. A process that is killed leaves it behind, with a copy of a whole database, and so
//! would each further attempt. So before a new folder is made, those that no process has locked are removed.

use parking_lot::Mutex;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// How the names of the folders begin.
const PREFIX: &str = ".rehearsal-";

/// Held while a folder is made, so that none is removed before it is locked.
static MAKING: Mutex<()> = Mutex::new(());

/// A folder for a copy; dropping it removes it.
pub(super) struct RehearsalFolder {
    folder: TempDir,
    /// Locked while the folder is in use.
    _lock: File,
}

impl RehearsalFolder {
    /// Makes a folder in `parent`, and removes those there that were left behind.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        let _making = MAKING.lock();
        remove_abandoned(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::open(folder.path())?;
        // Some file systems have no locks. Then a process that starts now could remove the folder, and this one would
        // fail.
        let _ = lock.try_lock();
        Ok(RehearsalFolder { folder, _lock: lock })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_copy = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        if is_copy
            && File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok())
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!("{} was left by a process that has ended, and cannot be removed: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_a_killed_process_left_is_removed_and_one_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(".rehearsal-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("copy.db"), "a copy").unwrap();
        fs::write(parent.path().join("orders.db"), "a database").unwrap();
        let one = RehearsalFolder::make(parent.path()).unwrap();
        let other = RehearsalFolder::make(parent.path()).unwrap();
        assert!(!left.exists() && one.path().exists() && other.path().exists());
        drop((one, other));
        let names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["orders.db"]);
    }
}
