//! Restores a backup into a state folder that has no data.
//!
//! Everything is checked before anything is written. While files are being put in place, the state folder has a marker
//! file, and no host starts on it: a partial application must not be served. A restore that was interrupted can simply
//! be run again; the marker names its backup, so that files of two backups never mix.

use super::secrets::{self, SecretsError};
use super::{Entry, FORMAT, LIST, List, digest, files, placed, sync_folder};
use serde::Deserialize;
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder is not a backup.
    #[error("{} is not a backup: {what}\n  fix: name the folder that `souk backup` made", path.display())]
    NoBackup {
        /// The folder.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// It belongs to another application or was made by a newer host.
    #[error("the backup is {what}\n  fix: {fix}")]
    Unfit {
        /// What it is.
        what: String,
        /// The fix.
        fix: &'static str,
    },
    /// A file differs from what was backed up.
    #[error("{} is not the file that was backed up: {what}\n  fix: use another backup", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// There is data already.
    #[error("{} exists already\n  fix: restore into an empty state folder (--state-dir), or move the old one \
             away", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// A store that was a file is now on a server.
    #[error(
        "the backup has {place}, which the runtime configuration places on a server\n  fix: restore with the configuration \
             that the backup was made with"
    )]
    OnServer {
        /// Its path in a state folder.
        place: String,
    },
    /// The secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The backup has no secrets.
    #[error("the backup has no secrets\n  fix: leave out --secrets, and put back the secrets that you kept")]
    NoSecrets,
    /// A file cannot be written.
    #[error("{}: {cause}\n  fix: make room for it, and let this user write there; then run the command again", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Restores the backup in `folder` into `state`, for `application`. With `key`, it also restores the secrets, which the
/// key or passphrase in that file decrypts. Blocks.
///
/// # Errors
/// When the folder is not a backup or belongs to another application, when a file has changed, or when there is data
/// already.
pub fn restore(
    application: &Application,
    state: &StateFolder,
    folder: &Path,
    key: Option<&Path>,
) -> Result<List, RestoreError> {
    let list = read(folder)?;
    if list.application != application.name {
        let what = format!("of the application `{}`, not `{}`", list.application, application.name);
        return Err(RestoreError::Unfit { what, fix: "name its manifest with -f" });
    }
    let mut targets: Vec<(PathBuf, PathBuf)> = Vec::new();
    for entry in &list.files {
        let source = check(entry, folder)?;
        for target in places(entry, application, state)? {
            // Of both, only the last one would be left.
            if targets.iter().any(|(_, other)| *other == target) {
                let what = format!("of two files that the runtime configuration places at {}", target.display());
                return Err(RestoreError::Unfit { what, fix: "restore with the configuration that it was made with" });
            }
            targets.push((source.clone(), target));
        }
    }
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |cause| RestoreError::Unwritable { path, cause }
    };
    let (marker, name) = (state.restoring(), digest(&folder.join(LIST)).map_err(unwritable(folder))?.1);
    let begun = match std::fs::read_to_string(&marker) {
        Ok(begun) => Some(begun),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unwritable(&marker)(error)),
    };
    match &begun {
        None => {
            let there = files(application, state.path()).map_err(unwritable(state.path()))?;
            if let Some(path) = there.into_values().next() {
                return Err(RestoreError::Occupied { path });
            }
            // Also what these settings do not use, say the file of a database that is in PostgreSQL now.
            let versions = state.path().join("versions");
            let mut data = targets.iter().map(|(_, target)| target).filter(|target| !target.starts_with(&versions));
            if let Some(path) = data.find(|target| target.exists()).cloned() {
                return Err(RestoreError::Occupied { path });
            }
        }
        // An earlier host left it empty.
        Some(begun) if begun.is_empty() || *begun == name => {
            // The settings may name another file now than when it was interrupted. One that it has put there is whole.
            for (source, target) in targets.iter().filter(|(_, target)| !target.starts_with(state.path())) {
                if target.exists()
                    && digest(source).map_err(unwritable(source))? != digest(target).map_err(unwritable(target))?
                {
                    return Err(RestoreError::Occupied { path: target.clone() });
                }
            }
        }
        Some(_) => {
            let what = "not the one whose restore was interrupted here".to_owned();
            return Err(RestoreError::Unfit { what, fix: "restore that one again, or name an empty state folder" });
        }
    }
    if let Some(key) = key {
        let entry = list.secrets.as_ref().ok_or(RestoreError::NoSecrets)?;
        let path = folder.join(secrets::SECRETS);
        let changed = |what: String| RestoreError::Changed { path: path.clone(), what };
        let (bytes, sha256) = digest(&path).map_err(|error| changed(error.to_string()))?;
        if (bytes, &sha256) != (entry.bytes, &entry.sha256) {
            return Err(changed("its digest differs".to_owned()));
        }
        let sealed = std::fs::read(&path).map_err(|error| changed(error.to_string()))?;
        // First: with a wrong key nothing must be restored.
        secrets::open(state.path(), key, &sealed)?;
    }
    if begun.is_none() {
        let written = tempfile::NamedTempFile::new_in(state.path()).and_then(|mut file| {
            file.write_all(name.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&marker).map_err(|error| error.error)
        });
        written.map_err(unwritable(&marker))?;
        sync_folder(state.path()).map_err(unwritable(&marker))?;
    }
    for (source, target) in &targets {
        place(source, target).map_err(unwritable(target))?;
    }
    std::fs::remove_file(&marker).map_err(unwritable(&marker))?;
    sync_folder(state.path()).map_err(unwritable(&marker))?;
    Ok(list)
}

/// What a list of every version has.
#[derive(Deserialize)]
struct Format {
    format: u32,
    #[serde(default)]
    souk: String,
}

fn read(folder: &Path) -> Result<List, RestoreError> {
    let no_backup = |what: String| RestoreError::NoBackup { path: folder.to_owned(), what };
    let text = std::fs::read(folder.join(LIST)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_backup(format!("it has no {LIST}, which is written last")),
        _ => no_backup(format!("{LIST} cannot be read: {error}")),
    })?;
    let bad = |error: serde_json::Error| no_backup(format!("{LIST} is not a list of its files: {error}"));
    // First: a newer list may have other members.
    let format: Format = serde_json::from_slice(&text).map_err(bad)?;
    if format.format > FORMAT {
        let what = format!("of a newer host, Souk {}", format.souk);
        return Err(RestoreError::Unfit { what, fix: "restore it with that version or a newer one" });
    }
    serde_json::from_slice(&text).map_err(bad)
}

/// The file of `entry`, if it is unchanged.
fn check(entry: &Entry, folder: &Path) -> Result<PathBuf, RestoreError> {
    let path = folder.join(&entry.path);
    if let Some(bad) = std::iter::once(&entry.path).chain(&entry.also).find(|place| !is_place(place)) {
        return Err(RestoreError::NoBackup { path: folder.to_owned(), what: format!("{LIST} names `{bad}`") });
    }
    let changed = |what: String| RestoreError::Changed { path: path.clone(), what };
    let (bytes, sha256) = digest(&path).map_err(|error| changed(error.to_string()))?;
    if bytes != entry.bytes {
        return Err(changed(format!("it has {bytes} bytes, not {}", entry.bytes)));
    }
    if sha256 != entry.sha256 {
        return Err(changed("its digest differs".to_owned()));
    }
    Ok(path)
}

/// Whether `place` is the path of one of a state folder's files, and leads nowhere else.
fn is_place(place: &str) -> bool {
    let Some((folder, name)) = place.split_once('/') else { return false };
    if folder == "versions" {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let name = name.strip_suffix(".json").or_else(|| name.strip_prefix("files/")?.strip_suffix(".wasm"));
        return name.is_some_and(is_name);
    }
    ["sqlite", "key_value", "durable"].contains(&folder)
        && name.ends_with(".db")
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
}

/// The paths to which the file of `entry` is restored.
fn places(entry: &Entry, application: &Application, state: &StateFolder) -> Result<Vec<PathBuf>, RestoreError> {
    let placed: BTreeMap<_, _> = placed(application);
    let mut targets = Vec::new();
    for place in std::iter::once(&entry.path).chain(&entry.also) {
        let target = match placed.get(place) {
            Some(Some(path)) => path.clone(),
            Some(None) => return Err(RestoreError::OnServer { place: place.clone() }),
            None => state.path().join(place),
        };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Copies `source` to `target`: the name refers to the whole file or does not exist.
fn place(source: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut copy = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(&mut File::open(source)?, &mut copy)?;
    copy.as_file().sync_all()?;
    // A journal that a crash has left belongs to another file.
    for log in ["-wal", "-shm", "-journal"] {
        let mut name = OsString::from(target);
        name.push(log);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    copy.persist(target)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::is_place;

    #[test]
    fn a_list_can_name_files_of_a_state_folder_alone() {
        for (place, expected) in [
            ("sqlite/orders.db", true),
            ("key_value/auth.db", true),
            ("durable/messages.db", true),
            ("secrets/jwt_secret", false),
            ("sqlite/../secrets/x.db", false),
            ("versions/shop.json", true),
            ("versions/files/0a1b.wasm", true),
            ("versions/../secrets/x.json", false),
            ("versions/files/../x.wasm", false),
            ("/etc/x.db", false),
            ("sqlite/a/b.db", false),
            ("sqlite/.x.db", false),
            ("sqlite", false),
        ] {
            assert_eq!(is_place(place), expected, "{place}");
        }
    }
}
