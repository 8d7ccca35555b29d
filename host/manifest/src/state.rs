//! The state folder: everything that a host keeps on disk, readable by its owner alone.
//!
//! Only one host at a time can hold the folder. A second host is refused, because each would know only a part of the
//! data.

use crate::secrets::{SecretError, Secrets};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be created or written.
    #[error("state folder {}: {cause}\n  fix: {}, or choose another with --state-dir", path.display(), fix_for(cause))]
    Unusable {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file stands where a folder must be.
    #[error(
        "state folder {}: there is a file where a folder must be\n  fix: move the file away, or choose another folder \
         with --state-dir",
        path.display()
    )]
    NoFolder {
        /// The folder that cannot be created.
        path: PathBuf,
    },
    /// A restore of a backup was interrupted.
    #[error(
        "state folder {}: a restore of a backup was interrupted, so its data is incomplete\n  fix: run `souk restore` with the \
         same backup again",
        path.display()
    )]
    HalfRestored {
        /// The folder.
        path: PathBuf,
    },
    /// Another host has it.
    #[error(
        "state folder {} is in use by another host\n  fix: wait until it has started or stopped, \
         stop it, or choose another folder with --state-dir",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

fn fix_for(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        _ => "make it writable",
    }
}

/// A state folder that this process holds, until the last of its clones is dropped.
#[derive(Clone)]
pub struct StateFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

impl StateFolder {
    /// Creates the folder if it is missing, and locks it until the value is dropped.
    ///
    /// # Errors
    /// When it cannot be written, another host has it, or a restore into it was interrupted.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let state = StateFolder::open_for_restore(path)?;
        if state.restoring().exists() {
            return Err(StateError::HalfRestored { path: state.path });
        }
        Ok(state)
    }

    /// As [`StateFolder::open`], but also after an interrupted restore: for the next restore.
    ///
    /// # Errors
    /// When it cannot be written, or another host has it.
    pub fn open_for_restore(path: &Path) -> Result<Self, StateError> {
        make(path)?;
        let path = fs::canonicalize(path).map_err(|e| unusable(path, e))?;
        let lock_file = path.join(LOCK);
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
        let state = StateFolder { path, _lock: Arc::new(lock) };
        for part in [
            state.cache(),
            state.sqlite(),
            state.key_value(),
            state.path.join(DURABLE),
            state.files(),
            state.secrets_folder(),
            state.path.join(RUN),
            state.admin_folder(),
        ] {
            make_private(&part)?;
        }
        Ok(state)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cache of compiled code.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// SQLite databases, one file for each label.
    pub fn sqlite(&self) -> PathBuf {
        self.path.join(SQLITE)
    }

    /// Key-value stores, one file for each label.
    pub fn key_value(&self) -> PathBuf {
        self.path.join("key_value")
    }

    /// The queue of durable messages.
    pub fn messages(&self) -> PathBuf {
        self.path.join(DURABLE).join("messages.db")
    }

    /// The files that components may read.
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// A marker that exists while a backup is being restored into the folder.
    pub fn restoring(&self) -> PathBuf {
        self.path.join("restoring")
    }

    /// Secrets that the host generates, one file each.
    pub fn secrets(&self) -> Secrets {
        Secrets::kept(self.secrets_folder())
    }

    /// The tokens of the administration listener, one file each.
    pub fn admin(&self) -> Secrets {
        Secrets::kept(self.admin_folder())
    }

    /// The unique id of this folder: 64 hexadecimal digits, generated once. A copy of the folder has the same id.
    ///
    /// # Errors
    /// When its file cannot be written or read.
    pub fn id(&self) -> Result<String, SecretError> {
        Secrets::kept(self.path.clone()).get(ID)
    }

    fn admin_folder(&self) -> PathBuf {
        self.path.join(ADMIN)
    }

    fn secrets_folder(&self) -> PathBuf {
        self.path.join(SECRETS)
    }
}

/// Whether `path` is a state folder: a host or a command has held it.
pub fn exists(path: &Path) -> bool {
    path.join(LOCK).is_file()
}

/// The lock file of the folder: the process that has locked it holds the folder.
const LOCK: &str = "lock";

/// The name of the secret that is the folder's id.
const ID: &str = "id";

/// As [`StateFolder::id`], for the folder `path`, which a host may hold. If the folder has no id, a random one is
/// returned; it is stored only if `keep` is set.
///
/// # Errors
/// When its file cannot be read or written.
pub fn id_of(path: &Path, keep: bool) -> Result<String, SecretError> {
    let secrets = if keep { Secrets::kept(path.to_owned()) } else { Secrets::looked_up(path.to_owned()) };
    secrets.get(ID)
}

/// The name of the secrets' folder.
const SECRETS: &str = "secrets";

/// The secrets in the state folder `path`, which need not exist. A missing secret gets a random value, which is not
/// stored.
pub fn secrets_of(path: &Path) -> Secrets {
    Secrets::looked_up(path.join(SECRETS))
}

/// The tokens of the administration listener of the host that holds the state folder `path`.
pub fn admin_of(path: &Path) -> Secrets {
    Secrets::looked_up(path.join(ADMIN))
}

/// The folder of the queue of durable messages.
const DURABLE: &str = "durable";

/// The folder of the tokens of the administration listener.
const ADMIN: &str = "admin";
/// The folder of downloaded components.
const COMPONENTS: &str = "components";

/// The folder of downloaded components in the state folder `path`, each under its digest; it need not exist.
pub fn components_folder(path: &Path) -> PathBuf {
    path.join(COMPONENTS)
}

/// Creates the folder of [`components_folder`]. This does not need the lock on the state folder.
///
/// # Errors
/// When it cannot be created.
pub fn make_components_folder(path: &Path) -> Result<PathBuf, StateError> {
    make(path)?;
    let folder = components_folder(path);
    make_private(&folder)?;
    Ok(folder)
}

/// The folder of applications from packages.
const PACKAGES: &str = "packages";

/// The folder of applications from packages in the state folder `path`, each under its digest; it need not exist.
pub fn packages_folder(path: &Path) -> PathBuf {
    path.join(PACKAGES)
}

/// Creates the folder of [`packages_folder`]. This does not need the lock on the state folder.
///
/// # Errors
/// When it cannot be created.
pub fn make_packages_folder(path: &Path) -> Result<PathBuf, StateError> {
    make(path)?;
    let folder = packages_folder(path);
    make_private(&folder)?;
    Ok(folder)
}

/// The folder of the control socket.
const RUN: &str = "run";

/// The socket through which `souk call` reaches the host that holds the state folder `path`.
pub fn control_socket(path: &Path) -> PathBuf {
    path.join(RUN).join("control.sock")
}

/// The folder of the databases in the state folder `path`. Creates it if it is missing, without locking the state
/// folder.
///
/// # Errors
/// When it cannot be created.
pub fn sqlite_folder(path: &Path) -> Result<PathBuf, StateError> {
    make(path)?;
    let folder = path.join(SQLITE);
    make_private(&folder)?;
    Ok(folder)
}

/// The name of the databases' folder.
const SQLITE: &str = "sqlite";

/// Creates a folder that only its owner can access. An existing folder keeps its mode: it may be a shared one such as
/// `/tmp`.
fn make(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unusable(path, e))
}

/// Creates a folder of the host, and removes all rights of other users to it.
fn make_private(path: &Path) -> Result<(), StateError> {
    make(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|e| unusable(path, e))
}

fn unusable(path: &Path, cause: io::Error) -> StateError {
    match cause.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => StateError::NoFolder { path: path.into() },
        _ => StateError::Unusable { path: path.into(), cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_file_in_the_folders_place_is_named_as_such() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        for path in ["file", "file/state"] {
            let error = StateFolder::open(&temp.path().join(path)).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("there is a file where a folder must be"), "{error}");
        }
    }

    #[test]
    fn only_the_owner_can_read_the_folder_even_where_it_was_open_before() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("state/sqlite")).unwrap();
        fs::set_permissions(temp.path().join("state/sqlite"), Permissions::from_mode(0o755)).unwrap();
        let state = StateFolder::open(&temp.path().join("state")).unwrap();
        for path in [
            state.sqlite(),
            state.cache(),
            state.secrets_folder(),
            state.admin_folder(),
            control_socket(state.path()).parent().unwrap().to_path_buf(),
        ] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
    }
}
