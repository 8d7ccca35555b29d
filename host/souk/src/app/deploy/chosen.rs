//! Chooses which version of each component a start loads.
//!
//! The version that served last serves again, from its stored file, unless the file at the manifest's `source` has
//! changed since: that is a new version. For everything but code, `spin.toml` decides.
//!
//! A host that was away runs what the other hosts have agreed on in the meantime. A file at `source` that neither this
//! host nor the intent knows is newer than both.

use super::version_folder::{Book, VersionFolder, digest};
use crate::fetch::read_component;
use souk_links::cluster::agreement::Intent;
use souk_manifest::{Application, Component as Declared, Diagnostic};
use souk_runtime::VersionId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a version runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The component has no version yet.
    First,
    /// It served at the last run, and is the file that the manifest names.
    AsBefore,
    /// It was deployed, and is not the file that the manifest names.
    Deployed,
    /// The hosts of the application have agreed on it.
    Agreed,
    /// The file that the manifest names has changed.
    SourceChanged,
}

impl Reason {
    /// Whether the version has not served here before.
    pub(crate) fn is_new(self) -> bool {
        matches!(self, Reason::First | Reason::Agreed | Reason::SourceChanged)
    }
}

/// The version of a component that a start loads.
#[derive(Debug, Clone)]
pub(crate) struct ChosenVersion {
    /// Its file.
    pub path: PathBuf,
    /// Its version id.
    pub id: VersionId,
    /// The reason for the choice.
    pub reason: Reason,
    /// The digest of the file at `source`; the version's digest if there is no such file.
    pub source: String,
    /// The record of the component's versions.
    pub book: Book,
    /// The hosts' agreement since then; the book has its number.
    pub intent: Option<Intent>,
}

impl ChosenVersion {
    /// Who has deployed it to all hosts; empty if the hosts have not agreed on it.
    pub(crate) fn by(&self) -> &str {
        self.intent.as_ref().map_or("", |intent| &intent.by)
    }

    /// The mistake that a start reports of this new version: `what` says that no instance of it could be created, or
    /// that messages that wait do not fit it.
    pub(crate) fn refused(
        &self,
        application: &Application,
        declared: &Declared,
        what: &str,
        kept: &VersionFolder,
    ) -> Diagnostic {
        let (number, before, source) = (self.id.number, self.book.active(), &declared.source);
        let why = match (self.reason, before) {
            (Reason::Agreed, _) => format!("which the hosts have agreed on (deployed by {})", self.by()),
            (_, Some(before)) => {
                format!("because {} has changed since version {}, which served last", source.display(), before.number)
            }
            (_, None) => "the first".to_owned(),
        };
        let fix = match (self.reason, before) {
            (Reason::Agreed, _) => "correct what this host gives it; or roll it back at a host that runs it".to_owned(),
            (_, Some(before)) => format!(
                "correct it; or start version {} again: copy {} to {}",
                before.number,
                kept.file(&before.digest).display(),
                source.display()
            ),
            (_, None) => "correct it, or its limits".to_owned(),
        };
        let message =
            format!("{what}\n  it would be version {number}, {why}: nothing was started, and nothing has changed");
        application.mistake(declared, message, fix)
    }
}

/// Chooses the version of every component that `application` loads here. `agreed` has the hosts' agreements whose files
/// are here. Blocks on the disk. Returns the mistakes too.
pub(crate) fn choose(
    application: &Application,
    kept: &VersionFolder,
    agreed: &BTreeMap<String, Intent>,
) -> (BTreeMap<String, ChosenVersion>, Vec<Diagnostic>) {
    let (mut chosen, mut mistakes) = (BTreeMap::new(), Vec::new());
    for component in application.here() {
        let source = match read_component(&component.source) {
            Ok(bytes) => Some(digest(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // It has changed: the compiler says what is wrong with it.
            Err(_) => Some(String::new()),
        };
        let book = match kept.book(&component.name) {
            Ok(book) => book,
            Err(error) => {
                let message = format!("the record of its versions cannot be read: {error}");
                let fix = format!(
                    "remove versions/{}.json in the state folder to start with the manifest's file",
                    component.name
                );
                mistakes.push(application.mistake(component, message, &fix));
                continue;
            }
        };
        let intent = agreed.get(&component.name);
        let intent = intent.filter(|intent| book.as_ref().is_none_or(|book| intent.number > book.agreed)).cloned();
        let book =
            book.map(|book| Book { agreed: intent.as_ref().map_or(book.agreed, |intent| intent.number), ..book });
        let version = |number, digest: &str| VersionId {
            number,
            digest: digest.into(),
            label: label(&application.version, number),
        };
        let new = |number, reason, book| {
            let digest = source.clone().unwrap_or_default();
            let intent = intent.clone();
            ChosenVersion {
                path: component.source.clone(),
                id: version(number, &digest),
                reason,
                source: digest,
                book,
                intent,
            }
        };
        let followed = intent.as_ref().filter(|intent| is_older(source.as_deref(), book.as_ref(), intent));
        if let Some(intent) = followed.filter(|intent| !serves(book.as_ref(), &intent.digest)) {
            let book = book.unwrap_or_else(|| Book { agreed: intent.number, ..Book::default() });
            let here = source.as_ref() == Some(&intent.digest);
            let one = ChosenVersion {
                path: if here { component.source.clone() } else { kept.file(&intent.digest) },
                id: version(book.number_of_agreed(intent.number, &intent.digest), &intent.digest),
                reason: Reason::Agreed,
                source: source.unwrap_or_else(|| intent.digest.clone()),
                book,
                intent: Some(intent.clone()),
            };
            chosen.insert(component.name.clone(), one);
            continue;
        }
        let one = match (book, &source) {
            (None, _) => {
                let agreed = intent.as_ref().map_or(0, |intent| intent.number);
                new(agreed + 1, Reason::First, Book { agreed, last: agreed, ..Book::default() })
            }
            (Some(book), source) => match (book.active().cloned(), source) {
                // No version in the book serves: choose as if there were no book.
                (None, _) => new(book.last + 1, Reason::First, book),
                (Some(active), Some(now)) if !book.knows_source(now) && *now != active.digest => {
                    new(book.last + 1, Reason::SourceChanged, book)
                }
                (Some(active), source) => {
                    let now = source.as_ref().map_or(active.digest.as_str(), String::as_str);
                    let as_named = now == active.digest;
                    let path =
                        if as_named && source.is_some() { component.source.clone() } else { kept.file(&active.digest) };
                    if path != component.source
                        && let Err(what) = check_file(&path, &active.digest)
                    {
                        let message = format!("its version {} {what}", active.number);
                        let fix = if source.is_some() {
                            "deploy it again; for that, remove the component's .json from versions/ in the state folder, so \
                             that `souk up` starts the manifest's file"
                        } else {
                            "build the manifest's file: `souk build`, or `souk up --build`"
                        };
                        mistakes.push(application.mistake(component, message, fix));
                        continue;
                    }
                    ChosenVersion {
                        path,
                        id: version(active.number, &active.digest),
                        reason: if as_named { Reason::AsBefore } else { Reason::Deployed },
                        source: now.to_owned(),
                        book,
                        intent: intent.clone(),
                    }
                }
            },
        };
        chosen.insert(component.name.clone(), one);
    }
    (chosen, mistakes)
}

/// Whether the book's active version has this digest.
fn serves(book: Option<&Book>, digest: &str) -> bool {
    book.and_then(Book::active).is_some_and(|active| active.digest == digest)
}

/// Whether the file at `source` is not newer than the hosts' agreement: this host has served from it, or the host that
/// wrote the intent knew it.
fn is_older(source: Option<&str>, book: Option<&Book>, intent: &Intent) -> bool {
    let Some(source) = source else { return true };
    let seen_here = book.is_some_and(|book| book.knows_source(source)) || serves(book, source);
    seen_here || source == intent.digest || intent.known.iter().any(|known| known == source)
}

fn check_file(path: &Path, expected: &str) -> Result<(), String> {
    match std::fs::read(path) {
        Ok(bytes) if digest(&bytes) == expected => Ok(()),
        Ok(_) => Err(format!("is not what was deployed: {} has other bytes", path.display())),
        Err(error) => Err(format!("cannot be read: {}: {error}", path.display())),
    }
}

/// The name of a version in metrics: the application's version for the first one, otherwise its number.
pub(crate) fn label(application: &str, number: u64) -> String {
    match number {
        1 => application.to_owned(),
        _ => format!("{application}+{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::version_folder::Record;
    use super::*;

    #[test]
    fn a_file_that_neither_the_host_nor_the_intent_knows_is_newer() {
        let intent = Intent {
            number: 3,
            digest: "agreed".into(),
            size: 1,
            at: String::new(),
            by: String::new(),
            known: vec!["older".into()],
            previous: None,
        };
        let mut book = Book::default();
        let record = Record {
            number: 0,
            digest: "served".into(),
            size: 1,
            at: String::new(),
            by: String::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            note: None,
        };
        let number = book.add(None, record);
        book.serve(number, "seen");
        for (source, book, older) in [
            (None, None, true),
            (Some("agreed"), None, true),
            (Some("older"), None, true),
            (Some("seen"), None, false),
            (Some("served"), None, false),
            (Some("seen"), Some(&book), true),
            (Some("served"), Some(&book), true),
            (Some("new"), Some(&book), false),
        ] {
            assert_eq!(is_older(source, book, &intent), older, "{source:?}");
        }
        assert_eq!((book.number(None), book.number(Some(3)), book.number(Some(1))), (2, 3, 2));
    }
}
