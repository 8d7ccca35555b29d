//! Secrets that the host generates: one file for each secret in the state folder. A secret is generated once and kept.
//!
//! The file has the value as text, so that an operator can read it, back it up, or replace it. It gets its name only
//! when it is complete and on disk: signatures that were made with a secret must stay valid after a crash. An existing
//! file is replaced only when an operator requests that (`souk admin token --renew`).
//!
//! This module never prints a value.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The number of random bytes in a secret: a longer key would not make HMAC-SHA256 stronger.
const SECRET_BYTES: usize = 32;

/// Where secrets are kept.
pub struct Secrets {
    folder: PathBuf,
    keep: bool,
}

/// Why a secret is not available. It names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file is empty.
    #[error("the secret in {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Its file cannot be read, or is not text.
    #[error("the secret in {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Its file cannot be written.
    #[error("the secret {} cannot be written: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a secret: {0}")]
    NoRandomness(getrandom::Error),
}

impl SecretError {
    /// How to fix it.
    pub fn fix(&self) -> &'static str {
        match self {
            SecretError::Empty { .. } => {
                "put the value back; or remove the file, and the next start generates a new secret, and what was \
                 signed with the old one is invalid"
            }
            SecretError::Unreadable { .. } => {
                "make it a text file that the host's user may read; or remove it, and the next start generates a new \
                 secret, and what was signed with the old one is invalid"
            }
            SecretError::Unwritable { cause, .. }
                if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                "make room on the disk of the state folder"
            }
            SecretError::Unwritable { .. } => {
                "make the folder writable, or choose another state folder with --state-dir"
            }
            SecretError::NoRandomness(_) => "let the host's sandbox allow the system call getrandom",
        }
    }
}

impl Secrets {
    /// Secrets in `folder`, which must exist. Missing secrets are generated and stored there.
    pub fn kept(folder: PathBuf) -> Self {
        Secrets { folder, keep: true }
    }

    /// Secrets in `folder`, for commands that only read: a missing secret gets a random value, which is not stored.
    pub fn looked_up(folder: PathBuf) -> Self {
        Secrets { folder, keep: false }
    }

    /// The file of the secret `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The secret `name`, which must be valid as a file name.
    ///
    /// # Errors
    /// When its file is empty, or cannot be read or written.
    pub fn get(&self, name: &str) -> Result<String, SecretError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            // Editors add a line break at the end of a file.
            Ok(text) if text.trim_end().is_empty() => Err(SecretError::Empty { path }),
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let secret = random()?;
                if self.keep {
                    write(&self.folder, &path, &secret).map_err(|cause| SecretError::Unwritable { path, cause })?;
                }
                Ok(secret)
            }
            Err(cause) => Err(SecretError::Unreadable { path, cause }),
        }
    }

    /// Replaces the secret `name` by a new value.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn renew(&self, name: &str) -> Result<String, SecretError> {
        let (path, secret) = (self.path(name), random()?);
        replace(&self.folder, &path, &secret).map_err(|cause| SecretError::Unwritable { path, cause })?;
        Ok(secret)
    }
}

/// A new secret, as hexadecimal text.
///
/// # Errors
/// When the system gives no random bytes.
pub fn random() -> Result<String, SecretError> {
    let mut bytes = [0; SECRET_BYTES];
    crate::clock::fill_random(&mut bytes).map_err(SecretError::NoRandomness)?;
    Ok(hex::encode(bytes))
}

/// Writes a file that only its owner can read. It gets its name only when it is complete.
fn write(folder: &Path, path: &Path, secret: &str) -> io::Result<()> {
    temporary(folder, secret)?.persist_noclobber(path)?;
    File::open(folder)?.sync_all()
}

/// As `write`, but replaces an existing file.
fn replace(folder: &Path, path: &Path, secret: &str) -> io::Result<()> {
    temporary(folder, secret)?.persist(path)?;
    File::open(folder)?.sync_all()
}

/// A temporary file with the secret. It is created with mode 0600, and is removed unless it gets a name.
fn temporary(folder: &Path, secret: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(secret.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = || Secrets::kept(folder.path().to_owned());
        let first = secrets().get("one").unwrap();
        assert_eq!(first.len(), 2 * SECRET_BYTES);
        assert_eq!(secrets().get("one").unwrap(), first);
        assert_ne!(secrets().get("two").unwrap(), first);
        let mode = fs::metadata(folder.path().join("one")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file is left behind");
    }

    #[test]
    fn a_renewed_secret_takes_the_place_of_the_old_one_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::kept(folder.path().to_owned());
        let first = secrets.get("one").unwrap();
        let second = secrets.renew("one").unwrap();
        assert_ne!(first, second);
        assert_eq!(secrets.get("one").unwrap(), second);
        let mode = fs::metadata(folder.path().join("one")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_operators_own_secret_is_taken_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), "my own\n").unwrap();
        assert_eq!(Secrets::kept(folder.path().to_owned()).get("one").unwrap(), "my own");
    }

    #[test]
    fn an_empty_or_binary_file_is_an_error_that_names_it_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        for (content, reason) in [(&b""[..], "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "cannot be read")] {
            fs::write(&path, content).unwrap();
            let error = Secrets::kept(folder.path().to_owned()).get("one").unwrap_err();
            assert!(error.to_string().contains(reason) && error.to_string().contains("/one"), "{error}");
            assert!(error.fix().contains("remove"), "{}", error.fix());
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_command_that_only_reads_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let looked_up = Secrets::looked_up(folder.path().join("none"));
        assert_ne!(looked_up.get("one").unwrap(), looked_up.get("one").unwrap());
        assert!(!folder.path().join("none").exists());
        let kept = Secrets::kept(folder.path().to_owned()).get("one").unwrap();
        assert_eq!(Secrets::looked_up(folder.path().to_owned()).get("one").unwrap(), kept);
    }
}
