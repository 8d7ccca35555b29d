//! Backups: what a host keeps on disk, at one moment, copied into a separate folder.
//!
//! A backup is a copy of every SQLite file of the application (databases, key-value stores, the queue of durable
//! messages), all at the same moment ([`snapshot`]), and a list of them with their digests. The list is written last: a
//! folder without it is not a backup. The list only names the data in PostgreSQL, NATS or Redis, which needs its own
//! backup. The stored versions of components are included, so that a restored host serves the same versions.
//!
//! Secrets are left out, because copies of a backup end up in more places than the state folder; or they are encrypted
//! ([`secrets`]).

mod copy;
mod restore;
mod secrets;
mod snapshot;

pub use copy::{BackupError, take};
pub use restore::{RestoreError, restore};
pub use secrets::{SecretsError, key_warning};

use serde::{Deserialize, Serialize};
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Application, DatabaseUrl, KeyValuePlace};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [snapshot::FIXED_LIMITS, copy::FIXED_LIMITS, secrets::FIXED_LIMITS].concat()
}

/// The list's name in the folder of a backup.
pub const LIST: &str = "backup.json";

/// The format that this host writes; it reads this one and all earlier ones.
const FORMAT: u32 = 2;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The version of the format.
    pub format: u32,
    /// The version of the host that made it.
    pub souk: String,
    /// The application's name.
    pub application: String,
    /// Its version.
    pub version: String,
    /// When it was taken, in seconds since 1970.
    pub taken: u64,
    /// The files.
    pub files: Vec<Entry>,
    /// The digests of the components that ran, by name.
    pub components: BTreeMap<String, String>,
    /// Descriptions of the application's data that is kept elsewhere.
    pub elsewhere: Vec<String>,
    /// The file with the encrypted secrets, if the backup has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the backup, which is also its path in a state folder: `sqlite/orders.db`.
    pub path: String,
    /// Other paths of the same file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// The files of `application`, whose state is in `state`: each file's path in a state folder, and where it actually is.
///
/// # Errors
/// When the state folder cannot be read.
fn files(application: &Application, state: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for folder in ["sqlite", "key_value", "durable"] {
        let path = state.join(folder);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            // A WAL file belongs to its database and is not listed.
            if let Some(name) = name.to_str().filter(|name| name.ends_with(".db")) {
                files.insert(format!("{folder}/{name}"), path.join(name));
            }
        }
    }
    for (place, path) in placed(application) {
        match path {
            Some(path) => files.insert(place, path),
            // What was there before the data moved to a server is out of date.
            None => files.remove(&place),
        };
    }
    files.retain(|place, path| path.is_file() && !is_in_postgres(application, place));
    Ok(files)
}

/// Whether `place` is the SQLite file of components whose databases are all in PostgreSQL now.
fn is_in_postgres(application: &Application, place: &str) -> bool {
    let Some(label) = place.strip_prefix("sqlite/").and_then(|name| name.strip_suffix(".db")) else { return false };
    let mut users =
        application.components.values().filter(|one| one.sqlite_databases.iter().any(|of| of == label)).peekable();
    users.peek().is_some() && users.all(|one| matches!(one.database, Some(DatabaseUrl::Postgres(_))))
}

/// What the runtime configuration places outside the state folder: the path that it would have there, with the file, or
/// `None` for a server.
fn placed(application: &Application) -> BTreeMap<String, Option<PathBuf>> {
    let databases =
        application.sqlite_paths.iter().map(|(label, path)| (format!("sqlite/{label}.db"), Some(path.clone())));
    let stores = application.key_value_places.iter().map(|(label, place)| {
        let path = match place {
            KeyValuePlace::File(path) => Some(path.clone()),
            KeyValuePlace::Nats { .. } | KeyValuePlace::Redis(_) | KeyValuePlace::Mongo { .. } => None,
        };
        (format!("key_value/{label}.db"), path)
    });
    databases.chain(stores).collect()
}

/// The data of `application` that is on a server.
fn elsewhere(application: &Application) -> Vec<String> {
    let mut all = BTreeSet::new();
    for component in application.components.values() {
        if let Some(DatabaseUrl::Postgres(address)) = &component.database {
            all.insert(format!("the database of `{}`: {address}", component.name));
        }
    }
    for (label, place) in &application.key_value_places {
        match place {
            KeyValuePlace::Nats { .. } => all.insert(format!("the key-value store `{label}`: NATS")),
            KeyValuePlace::Redis(url) => all.insert(format!("the key-value store `{label}`: {url}")),
            KeyValuePlace::Mongo { url, collection } => {
                all.insert(format!("the key-value store `{label}`: {url}, collection {collection}"))
            }
            KeyValuePlace::File(_) => false,
        };
    }
    if application.nats.is_some() {
        all.insert("durable messages: NATS".to_owned());
    }
    all.into_iter().collect()
}

/// The length of a file, and the SHA-256 of its content.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    use sha2::Digest as _;
    let (mut file, mut hash, mut bytes) = (std::fs::File::open(path)?, sha2::Sha256::new(), 0);
    let mut buffer = vec![0; copy::CHUNK_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        hash.update(chunk);
        bytes += read as u64;
    }
    Ok((bytes, hex::encode(hash.finalize())))
}

/// Makes renames and new files in `folder` survive a crash.
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
