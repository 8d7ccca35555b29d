//! Which version of each component a start loads.
//!
//! The version that served last does so again, from the file that was kept, unless the file at the manifest's `source` has
//! changed since: then that is a new version. `spin.toml` stays the truth about everything but code.
//!
//! Of several hosts, one that was away runs what the others have agreed on meanwhile. A file at `source` that neither this
//! host nor the intent knows is newer than both.

use super::kept::{Book, Kept, digest};
use souk_links::cluster::intents::Intent;
use souk_manifest::{Application, Diagnostic};
use souk_runtime::VersionId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why a version runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The component has none yet.
    First,
    /// It served when the host ran last, and is what the manifest names.
    AsBefore,
    /// It was deployed, and is not what the manifest names.
    Deployed,
    /// The hosts of the application have agreed on it.
    Agreed,
    /// The file that the manifest names has changed.
    SourceChanged,
}

/// The version of a component that a start loads.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// Its file.
    pub path: PathBuf,
    /// Which it is.
    pub id: VersionId,
    /// Why it is that one.
    pub why: Why,
    /// The digest of the file at `source`; that of the version where there is none.
    pub source: String,
    /// What is known of the component's versions.
    pub book: Book,
    /// What the hosts have agreed on since; the book knows its number.
    pub intent: Option<Intent>,
}

/// Chooses the version of every component that `application` loads here, where `agreed` has what the hosts have agreed on and
/// whose file is here. Blocks on the disk. Returns what is wrong as well.
pub(crate) fn choose(
    application: &Application,
    kept: &Kept,
    agreed: &BTreeMap<String, Intent>,
) -> (BTreeMap<String, Chosen>, Vec<Diagnostic>) {
    let (mut chosen, mut mistakes) = (BTreeMap::new(), Vec::new());
    for component in application.here() {
        let source = std::fs::read(&component.source).ok().map(|bytes| digest(&bytes));
        let book = match kept.book(&component.name) {
            Ok(book) => book,
            Err(error) => {
                let message = format!("what is known of its versions cannot be read: {error}");
                let fix = format!(
                    "remove versions/{}.json in the state folder to start with what the manifest names",
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
        let new = |number, why, book| {
            let digest = source.clone().unwrap_or_default();
            let intent = intent.clone();
            Chosen { path: component.source.clone(), id: version(number, &digest), why, source: digest, book, intent }
        };
        let followed = intent.as_ref().filter(|intent| is_older(source.as_deref(), book.as_ref(), intent));
        if let Some(intent) = followed.filter(|intent| !serves(book.as_ref(), &intent.digest)) {
            let book = book.unwrap_or_else(|| Book { agreed: intent.number, ..Book::default() });
            let here = source.as_ref() == Some(&intent.digest);
            let one = Chosen {
                path: if here { component.source.clone() } else { kept.file(&intent.digest) },
                id: version(book.number(Some(intent.number)), &intent.digest),
                why: Why::Agreed,
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
                new(agreed + 1, Why::First, Book { agreed, last: agreed, ..Book::default() })
            }
            (Some(book), source) => match (book.active().cloned(), source) {
                // Nothing serves by the book: as if there were none.
                (None, _) => new(book.last + 1, Why::First, book),
                (Some(active), Some(now)) if *now != book.source && *now != active.digest => {
                    new(book.last + 1, Why::SourceChanged, book)
                }
                (Some(active), source) => {
                    let now = source.as_ref().map_or(active.digest.as_str(), String::as_str);
                    let as_named = now == active.digest;
                    let path =
                        if as_named && source.is_some() { component.source.clone() } else { kept.file(&active.digest) };
                    if !as_named && let Err(what) = whole(&path, &active.digest) {
                        let message = format!("its version {} {what}", active.number);
                        let fix = "deploy it again: `souk up` starts what the manifest names once versions/ in the state folder lacks \
                                   the component's .json";
                        mistakes.push(application.mistake(component, message, fix));
                        continue;
                    }
                    Chosen {
                        path,
                        id: version(active.number, &active.digest),
                        why: if as_named { Why::AsBefore } else { Why::Deployed },
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

/// Whether the version with this digest is the one that serves by the book.
fn serves(book: Option<&Book>, digest: &str) -> bool {
    book.and_then(Book::active).is_some_and(|active| active.digest == digest)
}

/// Whether the file at `source` is no newer than what the hosts have agreed on: this host has served from it, or the host knew
/// it that has written the intent.
fn is_older(source: Option<&str>, book: Option<&Book>, intent: &Intent) -> bool {
    let Some(source) = source else { return true };
    let seen_here = book.is_some_and(|book| book.source == source) || serves(book, source);
    seen_here || source == intent.digest || intent.known.iter().any(|known| known == source)
}

fn whole(path: &std::path::Path, expected: &str) -> Result<(), String> {
    match std::fs::read(path) {
        Ok(bytes) if digest(&bytes) == expected => Ok(()),
        Ok(_) => Err(format!("is not what was deployed: {} has other bytes", path.display())),
        Err(error) => Err(format!("cannot be read: {}: {error}", path.display())),
    }
}

/// How measures name a version: by the application's for the first one, and its number.
pub(crate) fn label(application: &str, number: u64) -> String {
    match number {
        1 => application.to_owned(),
        _ => format!("{application}+{number}"),
    }
}
