//! Temporary files and folders that can be large: copies of databases, downloads.
//!
//! They are removed with their value. A process that is killed leaves them behind, and if it is started again and
//! again, so does each attempt. So before a new one is made, those in the same place that no process has locked are
//! removed.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{NamedTempFile, TempDir};

/// A temporary folder; dropping it removes it.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Locked while the folder is in use.
    _lock: File,
}

impl TemporaryFolder {
    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A new folder in `parent` with a name that begins with `prefix`. What was left behind there with such a name is
/// removed.
///
/// # Errors
/// When it cannot be created.
pub fn folder(parent: &Path, prefix: &str) -> io::Result<TemporaryFolder> {
    let _making = remove_abandoned(parent, prefix);
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
    let lock = File::open(folder.path())?;
    // Some file systems have no locks. Then a process that starts now could remove the folder, and this one would fail.
    let _ = lock.try_lock();
    Ok(TemporaryFolder { folder, _lock: lock })
}

/// A new file in `parent` with a name that begins with `prefix`, as [`folder`].
///
/// # Errors
/// When it cannot be created.
pub fn file(parent: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let _making = remove_abandoned(parent, prefix);
    let file = tempfile::Builder::new().prefix(prefix).tempfile_in(parent)?;
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Removes the files and folders in `parent` that a killed process has left behind with such a name.
pub fn remove_left_behind(parent: &Path, prefix: &str) {
    drop(remove_abandoned(parent, prefix));
}

/// Removes what was left behind. Nothing else is removed in this process while the result exists, so that what is made
/// meanwhile can be locked first.
fn remove_abandoned(parent: &Path, prefix: &str) -> MutexGuard<'static, ()> {
    static MAKING: Mutex<()> = Mutex::new(());
    let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let entries: Vec<_> = fs::read_dir(parent).map(|entries| entries.flatten().collect()).unwrap_or_default();
    for entry in entries {
        let is_temporary = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        let path = entry.path();
        if is_temporary && File::open(&path).is_ok_and(|left| left.try_lock().is_ok()) {
            // Where this fails, it was removed already, or making the new one fails too and says why.
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
    making
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = [".copy-folder", ".copy-file"].map(|name| parent.path().join(name));
        fs::create_dir(&left[0]).unwrap();
        fs::write(left[0].join("copy.db"), "a copy").unwrap();
        fs::write(&left[1], "a download").unwrap();
        fs::write(parent.path().join("orders.db"), "a database").unwrap();
        let one = folder(parent.path(), ".copy-").unwrap();
        let other = file(parent.path(), ".copy-").unwrap();
        let third = folder(parent.path(), ".copy-").unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        assert!(one.path().exists() && other.path().exists() && third.path().exists());
        drop((one, other, third));
        let names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["orders.db"]);
    }
}
