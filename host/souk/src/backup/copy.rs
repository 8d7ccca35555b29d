//! Makes a backup: takes snapshots, copies them, then writes the list.

use super::secrets::{self, SECRETS, SecretsError};
use super::snapshot::{self, Snapshot, SnapshotError};
use super::{Entry, FORMAT, LIST, List, digest, elsewhere, files, sync_folder};
use crate::app::deploy::version_folder::{Book, VersionFolder};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};
use souk_manifest::Application;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

souk_manifest::fixed_limits! {
    /// The fixed limits of copying.
    pub(crate) const FIXED_LIMITS = "backup";

    /// How many pages of a database are copied in one step.
    const STEP_PAGES: i32 = 256, "pages";
    /// How much of a file is read in one step for its digest.
    pub(super) const CHUNK_BYTES: usize = 256 * 1024, bytes;
}

/// A backup could not be made. What was already written is not a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The snapshots could not be taken.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The target folder is not empty.
    #[error("{} is not empty\n  fix: name a new folder for each backup", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The secrets could not be encrypted.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// There is nothing to back up.
    #[error("the state folder {} has no data\n  fix: name the state with --state-dir; data in PostgreSQL or NATS needs \
             a backup of its own", path.display())]
    Nothing {
        /// The state folder.
        path: PathBuf,
    },
    /// A copy cannot be made.
    #[error("{}: {cause}\n  fix: {}", path.display(), fix(cause))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A database is damaged.
    #[error("{} is damaged: {what}\n  fix: keep the last good backup; `sqlite3 FILE .recover` saves what can be read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
}

fn fix(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        _ => "name a folder that this user may write",
    }
}

/// Copies the data of `application`, whose state is in `state`, into `folder`, which this creates. With `key`, it also
/// copies the secrets, encrypted for the key or passphrase in that file. Blocks.
///
/// # Errors
/// When a file cannot be read or copied, or no common moment is found in time.
pub fn take(application: &Application, state: &Path, folder: &Path, key: Option<&Path>) -> Result<List, BackupError> {
    let unwritable = |cause| BackupError::Unwritable { path: folder.to_owned(), cause };
    let sources =
        files(application, state).map_err(|cause| BackupError::Unwritable { path: state.to_owned(), cause })?;
    let elsewhere = elsewhere(application);
    if sources.is_empty() {
        return Err(BackupError::Nothing { path: state.to_owned() });
    }
    // First, before anything is written: the key file may be wrong.
    let sealed = key.map(|key| secrets::seal(state, key)).transpose()?.flatten();
    make(folder).map_err(unwritable)?;
    if std::fs::read_dir(folder).map_err(unwritable)?.next().is_some() {
        return Err(BackupError::NotEmpty { path: folder.to_owned() });
    }
    let snapshots = snapshot::take(&sources)?;
    let taken = souk_manifest::clock::since_epoch().as_secs();
    let mut entries = Vec::new();
    for snapshot in snapshots {
        entries.push(copy(&snapshot, folder)?);
    }
    let (versions, components) = versions(application, state, folder).map_err(unwritable)?;
    entries.extend(versions);
    let secrets = sealed.map(|sealed| write_secrets(&sealed, folder)).transpose().map_err(unwritable)?;
    let list = List {
        format: FORMAT,
        souk: env!("CARGO_PKG_VERSION").to_owned(),
        application: application.name.clone(),
        version: application.version.clone(),
        taken,
        files: entries,
        components,
        elsewhere,
        secrets,
    };
    write_list(&list, folder).map_err(unwritable)?;
    Ok(list)
}

fn write_secrets(sealed: &[u8], folder: &Path) -> io::Result<Entry> {
    let path = folder.join(SECRETS);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(sealed)?;
    file.sync_all()?;
    let (bytes, sha256) = digest(&path)?;
    Ok(Entry { path: SECRETS.to_owned(), also: Vec::new(), bytes, sha256 })
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn copy(snapshot: &Snapshot, folder: &Path) -> Result<Entry, BackupError> {
    let (place, also) = snapshot
        .places
        .split_first()
        .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    let target = folder.join(&place);
    let unwritable = |cause| BackupError::Unwritable { path: target.clone(), cause };
    let parent = target.parent().unwrap_or(folder);
    make(parent).map_err(unwritable)?;
    // Only its owner may read it; SQLite would create it readable for everybody.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(unwritable)?;
    copy_pages(&snapshot.reader, &target).map_err(|error| match error {
        Failed::Sqlite(error) => unwritable(written(error)),
        Failed::Damaged(what) => BackupError::Damaged { path: snapshot.path.clone(), what },
    })?;
    File::open(&target).and_then(|file| file.sync_all()).map_err(unwritable)?;
    sync_folder(parent).map_err(unwritable)?;
    let (bytes, sha256) = digest(&target).map_err(unwritable)?;
    Ok(Entry { path: place, also, bytes, sha256 })
}

/// SQLite's error about the copy, with the kind that decides the fix.
fn written(error: rusqlite::Error) -> io::Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::Error::new(io::ErrorKind::StorageFull, error),
        _ => io::Error::other(error),
    }
}

enum Failed {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sqlite(error)
    }
}

fn copy_pages(reader: &Connection, target: &Path) -> Result<(), Failed> {
    let mut copy = Connection::open(target)?;
    {
        let backup = Backup::new(reader, &mut copy)?;
        while !matches!(backup.step(STEP_PAGES)?, StepResult::Done) {}
    }
    // A single file, without a journal or WAL file.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    let found: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    copy.close().map_err(|(_, error)| error)?;
    if found == "ok" { Ok(()) } else { Err(Failed::Damaged(found)) }
}

/// Copies the stored versions of components; returns the copies, and the digest of each component's active version.
fn versions(
    application: &Application,
    state: &Path,
    folder: &Path,
) -> io::Result<(Vec<Entry>, BTreeMap<String, String>)> {
    let (kept, target) = (VersionFolder::of(state), VersionFolder::of(folder));
    let (mut entries, mut serving) = (BTreeMap::new(), BTreeMap::new());
    for component in application.here() {
        let name = &component.name;
        let Some(book) = kept.book(name)?.map(|book| copy_versions(&kept, &target, name, book)).transpose()?.flatten()
        else {
            if let Ok((_, sha256)) = digest(&component.source) {
                serving.insert(name.clone(), sha256);
            }
            continue;
        };
        if let Some(active) = book.active() {
            serving.insert(name.clone(), active.digest.clone());
        }
        let files = book.versions.iter().map(|version| format!("versions/files/{}.wasm", version.digest));
        for place in files.chain([format!("versions/{name}.json")]) {
            let (bytes, sha256) = digest(&folder.join(&place))?;
            entries.insert(place.clone(), Entry { path: place, also: Vec::new(), bytes, sha256 });
        }
    }
    Ok((entries.into_values().collect(), serving))
}

/// Copies the versions of one component, and the book as it was when its files were copied: a deployment at the same time
/// changes the book, and may remove files. A version whose file is gone or damaged is left out; without the active one
/// there is nothing to copy, and a restored host begins with the file that the manifest names.
fn copy_versions(
    kept: &VersionFolder,
    target: &VersionFolder,
    component: &str,
    mut book: Book,
) -> io::Result<Option<Book>> {
    let mut damaged = BTreeSet::new();
    'copy: loop {
        for version in &book.versions {
            if let Some(bytes) = kept.read(&version.digest) {
                target.keep(&version.digest, &bytes)?;
                continue;
            }
            match kept.book(component)? {
                Some(newer) if newer != book => {
                    book = newer;
                    damaged.clear();
                    continue 'copy;
                }
                _ => damaged.insert(version.number),
            };
        }
        break;
    }
    if !damaged.is_empty() {
        tracing::warn!(
            "component `{component}`: the files of versions {damaged:?} are gone or damaged, and not in the backup"
        );
    }
    if damaged.contains(&book.active) {
        return Ok(None);
    }
    book.versions.retain(|version| !damaged.contains(&version.number));
    book.previous = book.previous.filter(|previous| !damaged.contains(previous));
    target.save(component, &mut book)?;
    Ok(Some(book))
}

/// Writes the list: the name refers to the whole list or does not exist.
fn write_list(list: &List, folder: &Path) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, list)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(folder.join(LIST))?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::deploy::version_folder::{self, Record};

    /// Stores a version in `kept` and adds it to `book`, as a deployment does.
    fn deploy(kept: &VersionFolder, book: &mut Book, text: &str) {
        let record = Record::of_text(text);
        kept.keep(&record.digest, text.as_bytes()).unwrap();
        let number = book.add(None, record);
        book.serve(number, "source");
        kept.save("shop", book).unwrap();
    }

    #[test]
    fn versions_that_a_deployment_changes_meanwhile_are_copied_with_their_own_book() {
        let [state, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (kept, target) = (VersionFolder::of(state.path()), VersionFolder::of(folder.path()));
        let mut book = Book::default();
        deploy(&kept, &mut book, "one");
        let before = book.clone();
        // The first version goes while it is being copied.
        for text in ["two", "three", "four", "five", "six", "seven"] {
            deploy(&kept, &mut book, text);
        }
        kept.collect().unwrap();
        assert!(kept.read(&before.active().unwrap().digest).is_none());
        let copied = copy_versions(&kept, &target, "shop", before).unwrap().unwrap();
        assert_eq!((copied.active, &copied), (7, &target.book("shop").unwrap().unwrap()));
        assert!(copied.versions.iter().all(|version| target.read(&version.digest).is_some()));
    }

    #[test]
    fn a_version_whose_file_is_damaged_does_not_keep_the_data_from_being_backed_up() {
        let [state, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (kept, target) = (VersionFolder::of(state.path()), VersionFolder::of(folder.path()));
        let mut book = Book::default();
        deploy(&kept, &mut book, "one");
        deploy(&kept, &mut book, "two");
        std::fs::write(kept.file(&version_folder::digest(b"one")), "x").unwrap();
        let copied = copy_versions(&kept, &target, "shop", book.clone()).unwrap().unwrap();
        assert_eq!((copied.active, copied.previous, copied.versions.len()), (2, None, 1));
        std::fs::remove_file(kept.file(&version_folder::digest(b"two"))).unwrap();
        assert_eq!(copy_versions(&kept, &target, "other", book).unwrap(), None);
        assert_eq!(target.book("other").unwrap(), None);
    }
}
