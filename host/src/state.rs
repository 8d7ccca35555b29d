//! The state folder: everything that a host keeps on disk, readable by its owner alone.
//!
//! One host holds the folder at a time; a second one is refused, because two hosts would each hold half of the truth.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or written.
    #[error("state folder {}: {source}\n  fix: make it writable, or choose another with --state-dir", path.display())]
    Unusable {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another host has it.
    #[error(
        "state folder {} is in use by another host\n  fix: stop that host, or choose another folder with --state-dir",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// A state folder that this process holds.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Makes the folder where it is missing and takes hold of it until the value is dropped.
    ///
    /// # Errors
    /// When it cannot be written, or another host has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |path: &Path, source| StateError::Unusable { path: path.into(), source };
        let folder =
            |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unusable(path, e));
        folder(path)?;
        let path = fs::canonicalize(path).map_err(|e| unusable(path, e))?;
        let lock_file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_file)
            .map_err(|e| unusable(&lock_file, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path }),
            Err(TryLockError::Error(e)) => return Err(unusable(&lock_file, e)),
        }
        let state = StateFolder { path, _lock: lock };
        for part in [state.cache(), state.sqlite(), state.key_value(), state.files()] {
            folder(&part)?;
        }
        Ok(state)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compiled code.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// SQLite databases, one file a label.
    pub fn sqlite(&self) -> PathBuf {
        self.path.join("sqlite")
    }

    /// Key-value stores, one file a label.
    pub fn key_value(&self) -> PathBuf {
        self.path.join("key_value")
    }

    /// Files that components are given.
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }
}

/// The socket through which `souk call` reaches the host that holds the state folder `path`.
pub fn control_socket(path: &Path) -> PathBuf {
    path.join("control.sock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_host_on_the_same_folder_is_refused_until_the_first_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        let first = StateFolder::open(&path).unwrap();
        assert!(matches!(StateFolder::open(&path), Err(StateError::InUse { .. })));
        drop(first);
        StateFolder::open(&path).unwrap();
    }

    #[test]
    fn only_the_owner_can_read_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&temp.path().join("state")).unwrap();
        for path in [state.path().to_path_buf(), state.sqlite(), state.cache()] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
    }
}
