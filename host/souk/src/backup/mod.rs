//! Backups: what a host keeps on disk, at one moment, in a folder of its own.
//!
//! A backup is a copy of every SQLite file of the application (databases, key-value stores, the queue of durable
//! messages), all of the same moment ([`snapshot`]), and a list of them with their digests, which is written last: a folder
//! without the list is no backup. What lives in PostgreSQL, NATS or Redis is named in the list and is not in the folder:
//! those have backups of their own. The versions of components that are kept are in it, so that what served serves again.
//!
//! Secrets are left out, because a backup lies about in more places than a shop does.

mod copy;
mod restore;
mod snapshot;

pub use copy::{BackupError, take};
pub use restore::{RestoreError, restore};

use serde::{Deserialize, Serialize};
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Application, DatabaseUrl, KeyValuePlace};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [snapshot::FIXED_LIMITS, copy::FIXED_LIMITS].concat()
}

/// The list's name in the folder of a backup.
pub const LIST: &str = "backup.json";

/// The format that this host writes; it reads this one and those before it.
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
    /// The moment, in seconds since 1970.
    pub taken: u64,
    /// The files.
    pub files: Vec<Entry>,
    /// The digests of the components that ran, by name.
    pub components: BTreeMap<String, String>,
    /// What belongs to the application and is kept elsewhere, in words.
    pub elsewhere: Vec<String>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the backup, which is its place in a state folder: `sqlite/orders.db`.
    pub path: String,
    /// Other places that named the same file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// How long it is.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// The files of `application` with its state in `state`: the place in a state folder, and where the file lies.
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
            // A log belongs to its database.
            if let Some(name) = name.to_str().filter(|name| name.ends_with(".db")) {
                files.insert(format!("{folder}/{name}"), path.join(name));
            }
        }
    }
    files.extend(placed(application).into_iter().filter_map(|(place, path)| Some((place, path?))));
    files.retain(|_, path| path.is_file());
    Ok(files)
}

/// What the runtime configuration places outside the state folder: by its place there, with the file, or `None` on a
/// server.
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

/// What belongs to `application` and is on a server.
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

/// Lets what was renamed or made in `folder` outlive a crash.
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
