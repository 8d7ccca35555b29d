//! The books of a host's components, in memory and in the state folder.
//!
//! A deployment changes them, and so does the judge of a trial, which waits for no deployment. So a change reads a book,
//! stores it and publishes it under one lock: no change is lost, the memory has what the folder has, and no file is
//! removed between the moment it is stored and the moment a book names it. Only the reason why a version does not serve
//! is in memory also when it cannot be stored; the next change stores it.

use super::version_folder::{Book, VersionFolder};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;

/// The books of the components that run here.
pub(super) struct Books {
    folder: VersionFolder,
    books: Mutex<BTreeMap<String, Book>>,
    /// Held during a change.
    changing: Mutex<()>,
}

impl Books {
    /// These books, whose versions are stored in `folder`.
    pub(super) fn new(folder: VersionFolder, books: BTreeMap<String, Book>) -> Self {
        Books { folder, books: Mutex::new(books), changing: Mutex::default() }
    }

    /// The folder of versions.
    pub(super) fn folder(&self) -> &VersionFolder {
        &self.folder
    }

    /// The book of a component.
    pub(super) fn of(&self, component: &str) -> Book {
        self.books.lock().get(component).cloned().unwrap_or_default()
    }

    /// All books, by component.
    pub(super) fn all(&self) -> BTreeMap<String, Book> {
        self.books.lock().clone()
    }

    /// Adds the stored book of a component that runs here from now on.
    pub(super) fn know(&self, component: &str, book: Book) {
        self.books.lock().insert(component.to_owned(), book);
    }

    /// Removes a component that no longer runs here; what is stored of it stays.
    pub(super) fn forget(&self, component: &str) {
        self.books.lock().remove(component);
    }

    /// Changes the book of a component, and first stores a `file` under its digest. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be stored; then the book is unchanged.
    pub(super) fn change(
        &self,
        component: &str,
        file: Option<(&str, &[u8])>,
        change: impl FnOnce(&mut Book),
    ) -> io::Result<()> {
        let _changing = self.changing.lock();
        let mut book = self.of(component);
        change(&mut book);
        self.put(component, file, book)
    }

    /// Replaces the book of a component, and first stores a `file` under its digest. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be stored; then the book is unchanged.
    pub(super) fn replace(&self, component: &str, file: Option<(&str, &[u8])>, book: Book) -> io::Result<()> {
        let _changing = self.changing.lock();
        self.put(component, file, book)
    }

    fn put(&self, component: &str, file: Option<(&str, &[u8])>, mut book: Book) -> io::Result<()> {
        if let Some((digest, bytes)) = file {
            self.folder.keep(digest, bytes)?;
        }
        self.folder.save(component, &mut book)?;
        self.books.lock().insert(component.to_owned(), book);
        Ok(())
    }

    /// Stores what the hosts have agreed on, if it `is_last`: a task that has read or written it before another one may
    /// come here later. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(super) fn save_agreed(&self, agreed: &[u8], is_last: impl FnOnce() -> bool) -> io::Result<()> {
        let _changing = self.changing.lock();
        if is_last() { self.folder.save_agreed(agreed) } else { Ok(()) }
    }

    /// Records why a version does not serve. Blocks on the disk.
    pub(super) fn note(&self, component: &str, number: u64, why: &str) {
        self.explain(component, number, why, |book| book.note(number, why));
    }

    /// Records why a version on trial does not stay; see [`Book::withdraw`]. Blocks on the disk.
    pub(super) fn withdraw(&self, component: &str, number: u64, source: &str, why: &str) {
        self.explain(component, number, why, |book| book.withdraw(number, source, why));
    }

    fn explain(&self, component: &str, number: u64, why: &str, explain: impl FnOnce(&mut Book)) {
        let _changing = self.changing.lock();
        let mut book = self.of(component);
        explain(&mut book);
        if let Err(error) = self.put(component, None, book.clone()) {
            self.books.lock().insert(component.to_owned(), book);
            tracing::error!(
                component,
                "component `{component}`: it cannot be stored why version {number} does not serve ({why}): {error}; fix: \
                 make room in the state folder, and make it writable"
            );
        }
    }

    /// Removes files that are no longer needed, and the oldest versions where all files are too large. Only a deployment
    /// or a reload calls it, because both may have stored a file that no book names yet. Blocks on the disk.
    pub(super) fn collect(&self) {
        let _changing = self.changing.lock();
        match self.folder.collect() {
            Ok(changed) => {
                let mut books = self.books.lock();
                for (component, book) in changed {
                    if let Some(known) = books.get_mut(&component) {
                        *known = book;
                    }
                }
            }
            // What was recorded is valid; only room is missing.
            Err(error) => tracing::warn!(
                "files of old versions cannot be removed: {error}; fix: look into versions/ in the state folder, which \
                 has one .json for each component, and files/"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::version_folder::{Record, digest};
    use super::*;
    use std::fs;

    fn books(folder: &tempfile::TempDir) -> Books {
        Books::new(VersionFolder::of(folder.path()), BTreeMap::new())
    }

    fn add(books: &Books, text: &str) {
        let file = (digest(text.as_bytes()), text.as_bytes());
        let add = |book: &mut Book| {
            let number = book.add(None, Record::of_text(text));
            book.serve(number, "source");
        };
        books.change("web", Some((&file.0, file.1)), add).unwrap();
        books.collect();
    }

    #[test]
    fn changes_at_one_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let books = &books;
                scope.spawn(move || {
                    for n in 0..5 {
                        add(books, &format!("{thread}-{n}"));
                        books.note("web", 1, "a note");
                    }
                });
            }
        });
        let book = books.of("web");
        assert_eq!((book.last, book.active), (20, 20));
        assert_eq!(VersionFolder::of(folder.path()).book("web").unwrap(), Some(book.clone()));
        for version in &book.versions {
            assert!(books.folder().read(&version.digest).is_some(), "the file of version {}", version.number);
        }
    }

    #[test]
    fn of_two_agreements_the_last_one_stays_whichever_task_stores_its_own_later() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        books.save_agreed(b"second", || true).unwrap();
                        books.save_agreed(b"first", || false).unwrap();
                    }
                });
            }
        });
        assert_eq!(books.folder().agreed().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn a_reason_that_cannot_be_stored_is_known_at_once_and_stored_with_the_next_change() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        add(&books, "one");
        let (path, aside) = (folder.path().join("versions/web.json"), folder.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let note = |book: Book| book.version(1).unwrap().note.clone();
        let refused = books.change("web", None, |book| book.active = 0);
        assert!(refused.is_err() && books.of("web").active == 1);
        books.note("web", 1, "why");
        assert_eq!(note(books.of("web")).as_deref(), Some("why"));
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        let stored = || VersionFolder::of(folder.path()).book("web").unwrap().unwrap();
        assert_eq!(note(stored()), None);
        add(&books, "two");
        assert_eq!((stored().active, note(stored()).as_deref()), (2, Some("why")));
    }

    #[test]
    fn a_foreign_file_in_the_folder_keeps_no_version_from_serving() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        add(&books, "one");
        fs::write(folder.path().join("versions/other.json"), "no book").unwrap();
        add(&books, "two");
        assert_eq!(books.of("web").active, 2);
        assert_eq!(VersionFolder::of(folder.path()).book("web").unwrap().unwrap().active, 2);
    }

    #[test]
    fn a_damaged_file_is_replaced_when_its_version_is_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        add(&books, "one");
        let path = books.folder().file(&digest(b"one"));
        fs::write(&path, "damaged").unwrap();
        assert_eq!(books.folder().read(&digest(b"one")), None);
        add(&books, "one");
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn versions_that_go_because_all_files_are_too_large_go_from_memory_too() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(&folder);
        for text in ["one", "two", "three", "four"] {
            let large = |book: &mut Book| {
                let number = book.add(None, Record { size: 400 << 20, ..Record::of_text(text) });
                book.serve(number, "source");
            };
            books.change("web", Some((&digest(text.as_bytes()), text.as_bytes())), large).unwrap();
            books.collect();
        }
        let numbers: Vec<u64> = books.of("web").versions.iter().map(|version| version.number).collect();
        assert_eq!(numbers, [3, 4]);
        assert_eq!(VersionFolder::of(folder.path()).book("web").unwrap(), Some(books.of("web")));
    }
}
