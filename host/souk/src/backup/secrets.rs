//! The secrets of a state folder in a backup: encrypted by age, for a passphrase or a public key.
//!
//! Copies of a backup end up in more places than the state folder, so it has the secrets only if a key says who may
//! read them. `age` itself, and any program that reads its format, opens the file: it is a JSON object of names and
//! values.

use souk_manifest::Diagnostic;
#[cfg(feature = "age")]
use souk_manifest::readers;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

souk_manifest::fixed_limits! {
    /// The fixed limits of secrets in a backup.
    pub(super) const FIXED_LIMITS = "backup";

    /// The shortest passphrase for encrypting secrets.
    const MIN_PASSPHRASE_CHARACTERS: usize = 12, "characters";
}

/// The file's name in the folder of a backup.
pub(super) const SECRETS: &str = "secrets.age";

/// The secrets cannot be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file cannot be read or written.
    #[error("{}: {cause}\n  fix: let this user read and write it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The key file has no key.
    #[error(
        "{} has no key\n  fix: write a public key of age into it (`age1…`), or a passphrase of at least 12 characters; to \
         restore, the secret key (`AGE-SECRET-KEY-1…`) or the same passphrase", path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is a wrong one.
    #[error(
        "the secrets of the backup cannot be decrypted: {what}\n  fix: name the file with the passphrase, or the secret key, that they \
             were encrypted for"
    )]
    Sealed {
        /// What age says.
        what: String,
    },
    /// The secrets cannot be encrypted.
    #[error("the secrets cannot be encrypted: {what}\n  fix: this is a bug in Souk: please report it")]
    NotEncrypted {
        /// What age says.
        what: String,
    },
    /// The state folder has a different secret of this name.
    #[error("the secret `{name}` exists already, and differs\n  fix: restore into an empty state folder, or move {} \
             away", path.display())]
    Occupied {
        /// Its name.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// This program was built without age.
    #[error(
        "this souk was built without age\n  fix: build it with `--features age`, or `full`; or leave out --secrets"
    )]
    NotBuilt,
}

fn file(path: &Path) -> impl Fn(io::Error) -> SecretsError + '_ {
    |cause| SecretsError::File { path: path.to_owned(), cause }
}

/// The first line of a key file that is not a comment.
#[cfg(feature = "age")]
fn key(path: &Path) -> Result<String, SecretsError> {
    let text = fs::read_to_string(path).map_err(file(path))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.map(str::to_owned).ok_or_else(|| SecretsError::NoKey { path: path.to_owned() })
}

/// The warning that other users can read the file with a passphrase or a secret key.
#[cfg(feature = "age")]
pub fn key_warning(path: &Path) -> Option<Diagnostic> {
    let is_secret = key(path).is_ok_and(|key| !key.starts_with("age1"));
    readers::warning(path, path, "the key for the backup's secrets").filter(|_| is_secret)
}

/// There are no keys without age.
#[cfg(not(feature = "age"))]
pub fn key_warning(_: &Path) -> Option<Diagnostic> {
    None
}

/// Encrypts the secrets of the state folder `state` for the key in `key_file`; `None` when there are no secrets.
pub(super) fn seal(state: &Path, key_file: &Path) -> Result<Option<Vec<u8>>, SecretsError> {
    let folder = state.join("secrets");
    let mut secrets = BTreeMap::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(&folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(file(&folder))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
            secrets.insert(name.to_owned(), fs::read_to_string(&path).map_err(file(&path))?);
        }
    }
    if secrets.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_vec(&secrets).map_err(|error| file(&folder)(error.into()))?;
    encrypt(key_file, &text).map(Some)
}

/// Decrypts what [`seal`] returned, and puts the secrets into the state folder; returns how many there were.
pub(super) fn open(state: &Path, key_file: &Path, sealed: &[u8]) -> Result<usize, SecretsError> {
    let text = decrypt(key_file, sealed)?;
    let secrets: BTreeMap<String, String> =
        serde_json::from_slice(&text).map_err(|error| SecretsError::Sealed { what: error.to_string() })?;
    let folder = state.join("secrets");
    let place = |name: &str| -> Result<PathBuf, SecretsError> {
        match Path::new(name).components().collect::<Vec<_>>().as_slice() {
            [std::path::Component::Normal(name)] => Ok(folder.join(name)),
            _ => Err(SecretsError::Sealed { what: "a name leads out of the folder".to_owned() }),
        }
    };
    for (name, value) in &secrets {
        let path = place(name)?;
        if fs::read_to_string(&path).is_ok_and(|there| there != *value) {
            return Err(SecretsError::Occupied { name: name.clone(), path });
        }
    }
    for (name, value) in &secrets {
        let path = place(name)?;
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(value.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(file(&path))?;
    }
    Ok(secrets.len())
}

#[cfg(feature = "age")]
fn encrypt(key_file: &Path, text: &[u8]) -> Result<Vec<u8>, SecretsError> {
    let key = key(key_file)?;
    let failed = |error: age::EncryptError| SecretsError::NotEncrypted { what: error.to_string() };
    if key.starts_with("age1") {
        let recipient: age::x25519::Recipient =
            key.parse().map_err(|_| SecretsError::NoKey { path: key_file.to_owned() })?;
        return age::encrypt(&recipient, text).map_err(failed);
    }
    // A secret key cannot encrypt, and was surely not meant as a passphrase.
    if key.starts_with("AGE-SECRET-KEY-") || key.chars().count() < MIN_PASSPHRASE_CHARACTERS {
        return Err(SecretsError::NoKey { path: key_file.to_owned() });
    }
    age::encrypt(&age::scrypt::Recipient::new(key.into()), text).map_err(failed)
}

#[cfg(feature = "age")]
fn decrypt(key_file: &Path, sealed: &[u8]) -> Result<Vec<u8>, SecretsError> {
    let key = key(key_file)?;
    let failed = |error: age::DecryptError| SecretsError::Sealed { what: error.to_string() };
    if key.starts_with("AGE-SECRET-KEY-") {
        let identity: age::x25519::Identity =
            key.parse().map_err(|_| SecretsError::NoKey { path: key_file.to_owned() })?;
        return age::decrypt(&identity, sealed).map_err(failed);
    }
    age::decrypt(&age::scrypt::Identity::new(key.into()), sealed).map_err(failed)
}

#[cfg(not(feature = "age"))]
fn encrypt(_: &Path, _: &[u8]) -> Result<Vec<u8>, SecretsError> {
    Err(SecretsError::NotBuilt)
}

#[cfg(not(feature = "age"))]
fn decrypt(_: &Path, _: &[u8]) -> Result<Vec<u8>, SecretsError> {
    Err(SecretsError::NotBuilt)
}

#[cfg(feature = "age")]
#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;

    fn state(secrets: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("secrets")).unwrap();
        for (name, value) in secrets {
            fs::write(dir.path().join("secrets").join(name), value).unwrap();
        }
        dir
    }

    fn key_file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn secrets_are_read_by_their_passphrase_or_secret_key_and_by_no_other() {
        let from = state(&[("jwt_secret", "s3cret"), ("other", "0")]);
        let pair = age::x25519::Identity::generate();
        let (public, secret) = (pair.to_public().to_string(), pair.to_string().expose_secret().to_owned());
        for (seal_with, open_with, wrong) in [
            (
                "correct horse battery".to_owned(),
                "correct horse battery".to_owned(),
                "another horse battery".to_owned(),
            ),
            (
                format!("# a comment\n{public}\n"),
                secret,
                age::x25519::Identity::generate().to_string().expose_secret().to_owned(),
            ),
        ] {
            let sealed = seal(from.path(), &key_file(&from, "key", &seal_with)).unwrap().unwrap();
            assert!(!String::from_utf8_lossy(&sealed).contains("s3cret"));
            let to = state(&[]);
            let refused = open(to.path(), &key_file(&to, "wrong", &wrong), &sealed).unwrap_err();
            assert!(matches!(refused, SecretsError::Sealed { .. }), "{refused}");
            let right = key_file(&to, "right", &open_with);
            assert_eq!(open(to.path(), &right, &sealed).unwrap(), 2);
            assert_eq!(fs::read_to_string(to.path().join("secrets/jwt_secret")).unwrap(), "s3cret");
            assert_eq!(open(to.path(), &right, &sealed).unwrap(), 2, "again");
            fs::write(to.path().join("secrets/other"), "1").unwrap();
            assert!(matches!(open(to.path(), &right, &sealed), Err(SecretsError::Occupied { .. })));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_no_secrets_are_no_file() {
        let from = state(&[("jwt_secret", "s3cret")]);
        for text in ["", "# only a comment\n", "short", "age1notakey", "AGE-SECRET-KEY-1QQQ"] {
            let error = seal(from.path(), &key_file(&from, "key", text)).unwrap_err();
            assert!(matches!(error, SecretsError::NoKey { .. }), "{text}: {error}");
        }
        assert!(seal(state(&[]).path(), Path::new("key")).unwrap().is_none());
    }
}
