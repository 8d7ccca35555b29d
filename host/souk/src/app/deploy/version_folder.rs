//! The versions of components that a host stores in the state folder.
//!
//! `versions/files/DIGEST.wasm` are the components' files, each stored once. `versions/COMPONENT.json` is the [`Book`]
//! of a component, which names the active version. A book is replaced by a rename, so a host that is killed at any
//! point leaves the complete old book or the complete new one, each with exactly one active version. A file exists
//! before a book names it, and is removed when no book names it any more. `versions/agreed` is the last accepted
//! agreement of the application's hosts. A running host changes all of these through [`Books`](super::books::Books).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use souk_manifest::clock;
use souk_runtime::Compiled;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

souk_manifest::fixed_limits! {
    /// The fixed limits of versions.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// The most versions that are stored of a component; the active version and the previous one always are.
    const MAX_KEPT: usize = 5, "versions";
    /// The most bytes that the files of all versions may use; beyond that the oldest are removed, except active and
    /// previous versions.
    const MAX_KEPT_BYTES: u64 = 1 << 30, bytes;
}

/// A version of a component, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Counts the component's versions from 1; a number is never used twice.
    pub number: u64,
    /// The SHA-256 of its file, in hexadecimal.
    pub digest: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// When it was deployed (RFC 3339).
    pub at: String,
    /// Who deployed it: `start`, or the requester.
    pub by: String,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// Why it does not serve, if something happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The time of day, as records have it.
pub(super) fn timestamp() -> String {
    humantime::format_rfc3339_seconds(clock::now()).to_string()
}

impl Record {
    /// The record of a version that has no number yet.
    pub(super) fn of(code: &Compiled, digest: &str, size: u64, by: &str) -> Self {
        let ty = code.code.component_type();
        let engine = code.code.engine();
        Record {
            number: 0,
            digest: digest.to_owned(),
            size,
            at: timestamp(),
            by: by.to_owned(),
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
            note: None,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The versions of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Book {
    /// The number of the active version.
    pub active: u64,
    /// The number of the version that was active before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The SHA-256 of the manifest's `source` when the active version began to serve, or when a version with that file was
    /// withdrawn from its trial; a different file there is a new version.
    pub source: String,
    /// The highest number used so far.
    pub last: u64,
    /// The number of the last agreement of all hosts that was followed, or was replaced by a newer file here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agreed: u64,
    /// The number of the version that is being tried out; a host that starts and finds it was ended in the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<u64>,
    /// The stored versions, oldest first.
    pub versions: Vec<Record>,
}

impl Book {
    /// The version with this number.
    pub(crate) fn version(&self, number: u64) -> Option<&Record> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The active version.
    pub(crate) fn active(&self) -> Option<&Record> {
        self.version(self.active)
    }

    /// The number of a new version: `agreed`, the number on all hosts, or the next number here if that one is already
    /// used.
    pub(crate) fn number(&self, agreed: Option<u64>) -> u64 {
        agreed.unwrap_or_default().max(self.last + 1)
    }

    /// The number here of the version that has the number `agreed` on all hosts: the same one, unless a different file
    /// has it here. A host that was killed, or had no room, before the version served has recorded it already.
    pub(crate) fn number_of_agreed(&self, agreed: u64, digest: &str) -> u64 {
        match self.has(agreed, digest) {
            true => agreed,
            false => self.number(Some(agreed)),
        }
    }

    /// Whether the version with this number has this file.
    fn has(&self, number: u64, digest: &str) -> bool {
        self.version(number).is_some_and(|version| version.digest == digest)
    }

    /// Adds a version and returns its [`number`](Book::number). A version that has this number and the same file is the
    /// same version.
    pub(crate) fn add(&mut self, number: Option<u64>, record: Record) -> u64 {
        let again = number.filter(|number| self.has(*number, &record.digest));
        let number = again.unwrap_or_else(|| self.number(number));
        self.versions.retain(|version| version.number != number);
        self.versions.push(Record { number, ..record });
        self.versions.sort_by_key(|version| version.number);
        self.last = self.last.max(number);
        number
    }

    /// Makes a version of the book active.
    pub(crate) fn serve(&mut self, number: u64, source: &str) {
        if self.active != number && self.active().is_some() {
            self.previous = Some(self.active);
        }
        self.end_trial(number);
        self.active = number;
        source.clone_into(&mut self.source);
    }

    /// Records why a version does not serve.
    pub(crate) fn note(&mut self, number: u64, note: &str) {
        self.end_trial(number);
        if let Some(version) = self.versions.iter_mut().find(|version| version.number == number) {
            version.note = Some(note.to_owned());
        }
    }

    /// Records why a version on trial does not stay, when the file at the manifest's `source` had the digest `source`. If
    /// that is its own file, no start takes it for a new version: it would serve all calls, and was just withdrawn.
    pub(crate) fn withdraw(&mut self, number: u64, source: &str, why: &str) {
        if self.has(number, source) {
            source.clone_into(&mut self.source);
        }
        self.note(number, why);
    }

    /// Whether the file at the manifest's `source`, with this digest, is not newer than the active version: it was there
    /// before, or is the one whose trial ended with the host.
    pub(crate) fn knows_source(&self, digest: &str) -> bool {
        self.source == digest || self.trial.is_some_and(|trial| self.has(trial, digest))
    }

    /// The version with this file that was tried out after the active one began to serve, and did not stay.
    pub(crate) fn withdrawn(&self, digest: &str) -> Option<u64> {
        let mut later = self.versions.iter().rev().filter(|version| version.number > self.active);
        later.find(|version| version.digest == digest).map(|version| version.number)
    }

    fn end_trial(&mut self, number: u64) {
        self.trial = self.trial.filter(|trial| *trial != number);
    }

    fn must_keep(&self, number: u64) -> bool {
        number == self.active || Some(number) == self.previous || number == self.last || Some(number) == self.trial
    }

    /// Removes the oldest versions beyond the limit.
    fn prune(&mut self) {
        while self.versions.len() > MAX_KEPT {
            let Some(oldest) = self.versions.iter().position(|version| !self.must_keep(version.number)) else { break };
            self.versions.remove(oldest);
        }
    }
}

/// The folder of versions.
#[derive(Debug, Clone)]
pub(crate) struct VersionFolder {
    folder: PathBuf,
}

/// The SHA-256 of a component's file, in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl VersionFolder {
    /// The versions in a state folder; reads and creates nothing yet.
    pub(crate) fn of(state: &Path) -> Self {
        VersionFolder { folder: state.join("versions") }
    }

    fn book_file(&self, component: &str) -> PathBuf {
        self.folder.join(format!("{component}.json"))
    }

    /// The path of the file with this digest, whether or not it exists.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        self.folder.join("files").join(format!("{digest}.wasm"))
    }

    /// The book of a component; `None` when it has none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn book(&self, component: &str) -> io::Result<Option<Book>> {
        match fs::read(self.book_file(component)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a file under its digest; a stored one that was damaged is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        if self.read(digest).is_some() {
            return Ok(());
        }
        self.write(&self.file(digest), bytes)
    }

    /// Writes the book of a component.
    ///
    /// # Errors
    /// When it cannot be written; then the old book stays.
    pub(crate) fn save(&self, component: &str, book: &mut Book) -> io::Result<()> {
        book.prune();
        self.write(&self.book_file(component), &serde_json::to_vec_pretty(book).map_err(io::Error::other)?)
    }

    /// The file with this digest, if it exists and is complete.
    pub(crate) fn read(&self, wanted: &str) -> Option<Vec<u8>> {
        fs::read(self.file(wanted)).ok().filter(|bytes| digest(bytes) == wanted)
    }

    /// The last accepted agreement of the hosts.
    pub(crate) fn agreed(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.join("agreed")).ok()
    }

    /// Stores the agreement of the hosts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save_agreed(&self, agreed: &[u8]) -> io::Result<()> {
        self.write(&self.folder.join("agreed"), agreed)
    }

    /// Replaces the file atomically, even if the power fails: it has the old content or all of `bytes`.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder.join("files"))?;
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let parent = path.parent().map_or_else(|| self.folder.clone(), Path::to_path_buf);
        File::open(parent)?.sync_all()
    }

    /// Removes the files that no book names; before that, removes versions from books while all files together are too
    /// large. Returns the books that it has changed.
    ///
    /// # Errors
    /// When the folder cannot be read or written. A file is removed only if all books were read.
    pub(crate) fn collect(&self) -> io::Result<BTreeMap<String, Book>> {
        let (mut books, mut changed) = (BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some(component) = name.strip_suffix(".json") else { continue };
            if let Some(book) = self.book(component)? {
                books.insert(component.to_owned(), book);
            }
        }
        loop {
            let sizes: BTreeMap<&str, u64> =
                books.values().flat_map(|book| &book.versions).map(|v| (v.digest.as_str(), v.size)).collect();
            if sizes.values().sum::<u64>() <= MAX_KEPT_BYTES {
                break;
            }
            let oldest = books.iter().flat_map(|(component, book)| {
                let old = book.versions.iter().filter(|version| !book.must_keep(version.number));
                old.map(move |version| (version.at.clone(), component.clone(), version.number))
            });
            let Some((_, component, number)) = oldest.min() else { break };
            let Some(book) = books.get_mut(&component) else { break };
            book.versions.retain(|version| version.number != number);
            self.save(&component, book)?;
            changed.insert(component, book.clone());
        }
        let named: BTreeSet<&str> =
            books.values().flat_map(|book| &book.versions).map(|version| version.digest.as_str()).collect();
        for entry in fs::read_dir(self.folder.join("files"))? {
            let path = entry?.path();
            let digest = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if !named.contains(digest.as_str()) {
                fs::remove_file(path)?;
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
impl Record {
    /// The record of a version whose file is `text`.
    pub(crate) fn of_text(text: &str) -> Record {
        Record {
            number: 0,
            digest: digest(text.as_bytes()),
            size: text.len() as u64,
            at: "2026-01-01T00:00:00Z".into(),
            by: "start".into(),
            imports: Vec::new(),
            exports: Vec::new(),
            note: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_versions_are_kept_and_the_one_that_serves_and_the_one_before_always() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, mut book) = (VersionFolder::of(folder.path()), Book::default());
        for n in 1..=9 {
            let text = format!("version {n}");
            kept.keep(&digest(text.as_bytes()), text.as_bytes()).unwrap();
            let number = book.add(None, Record::of_text(&text));
            if n <= 2 {
                book.serve(number, "source");
            }
            kept.save("shop", &mut book).unwrap();
            kept.collect().unwrap();
        }
        let book = kept.book("shop").unwrap().unwrap();
        assert_eq!((book.active, book.previous, book.last), (2, Some(1), 9));
        let numbers: Vec<u64> = book.versions.iter().map(|version| version.number).collect();
        assert_eq!(numbers, [1, 2, 7, 8, 9]);
        for version in &book.versions {
            assert_eq!(digest(&fs::read(kept.file(&version.digest)).unwrap()), version.digest);
        }
        assert_eq!(fs::read_dir(folder.path().join("versions/files")).unwrap().count(), 5);
        assert_eq!(kept.book("other").unwrap(), None);
    }

    #[test]
    fn a_version_that_the_hosts_have_agreed_on_has_one_number_however_often_it_is_recorded() {
        let mut book = Book::default();
        assert_eq!(book.add(Some(3), Record::of_text("agreed")), 3);
        let digest = digest(b"agreed");
        assert_eq!(book.number_of_agreed(3, &digest), 3);
        assert_eq!(book.add(Some(3), Record::of_text("agreed")), 3);
        assert_eq!((book.versions.len(), book.last), (1, 3));
        assert_eq!(book.number_of_agreed(3, "another file"), 4);
        assert_eq!(book.add(Some(3), Record::of_text("another file")), 4);
        assert_eq!(book.number_of_agreed(9, &digest), 9);
    }

    #[test]
    fn a_file_at_source_whose_trial_has_ended_is_no_new_version() {
        let (one, two, three) = (digest(b"one"), digest(b"two"), digest(b"three"));
        for (source, is_known) in [(&two, true), (&three, false), (&one, false)] {
            let mut book = Book::default();
            let active = book.add(None, Record::of_text("one"));
            book.serve(active, &one);
            let tried = book.add(None, Record::of_text("two"));
            book.trial = Some(tried);
            assert!(book.knows_source(&two) && !book.knows_source(&three), "the host may end now");
            book.withdraw(tried, source, "it trapped");
            assert_eq!(book.knows_source(&two), is_known);
            assert!(!book.knows_source(&three), "it is built afterwards");
            assert_eq!((book.active, book.trial, book.withdrawn(&two)), (active, None, Some(tried)));
            book.serve(tried, &two);
            assert_eq!(book.withdrawn(&two), None);
        }
    }

    #[test]
    fn components_share_the_file_that_both_have() {
        let folder = tempfile::tempdir().unwrap();
        let kept = VersionFolder::of(folder.path());
        kept.keep(&digest(b"x"), b"x").unwrap();
        for component in ["one", "two"] {
            let mut book = Book::default();
            let number = book.add(None, Record::of_text("x"));
            book.serve(number, "source");
            kept.save(component, &mut book).unwrap();
            kept.collect().unwrap();
        }
        assert!(kept.file(&digest(b"x")).exists());
        let mut other = Book::default();
        let number = other.add(None, Record::of_text("y"));
        other.serve(number, "source");
        kept.keep(&digest(b"y"), b"y").unwrap();
        kept.save("one", &mut other).unwrap();
        kept.collect().unwrap();
        assert!(kept.file(&digest(b"x")).exists(), "`two` has it");
    }
}
