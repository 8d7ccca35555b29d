//! Creates new applications and components: `souk new` and `souk add`.
//!
//! The result builds, starts and passes its own test at once; the user need not fill in anything. The templates are
//! part of the program, so that it needs no other files.
//!
//! A command first computes every file that it is going to write, and then writes all of them. So it fails before it
//! writes anything if a file cannot be written or would replace a user's file. `spin.toml` and `Cargo.toml` are edited
//! as documents, so comments and order stay.
//!
//! The examples in the repository's folder `examples/` are made by the same commands: a test makes each, and compares it
//! with its folder. The differences are declared in `examples/differences.diff`.
//!
//! # Where the libraries come from
//!
//! A component may use Souk's libraries (for a database or a key-value store), and its test uses `souk-test`. They are
//! not published in a registry. So `souk add` writes their source code, which is part of the program, into the
//! application's folder `libraries/`: that works without a network, fits the host's version, and users can read it. A
//! dependency on a git repository would need a reachable repository and clone all of it. With `--souk DIR`, the
//! application uses the libraries in that checkout of Souk.

mod changes;
mod component;
mod contract;
mod libraries;
mod link;
mod manifest;
mod new_component;
mod other_languages;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod workspace;

pub(crate) use changes::{Changes, ScaffoldError};
pub(crate) use component::{add, add_library};
pub(crate) use libraries::Library;
pub(crate) use link::{NewLink, add_link};
pub(crate) use new_component::{Kind, Language, NewComponent, Storage};

use manifest::ManifestEdit;
use std::path::Path;

/// Creates a new application `name` in `folder`. Its tests are in `language`; `None` leaves that to its first component.
///
/// # Errors
/// When the name is invalid, or the folder is not empty.
pub(crate) fn new(folder: &Path, name: &str, language: Option<Language>) -> Result<Changes, ScaffoldError> {
    souk_manifest::check_component(name).map_err(|why| {
        ScaffoldError::new(
            format!("`{name}` cannot be an application's name: {why}"),
            "name it with words of letters and digits, joined by `-`: `souk new link-shop`",
        )
    })?;
    // A repository without files is empty, too.
    let counts = |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != ".git");
    if std::fs::read_dir(folder).is_ok_and(|entries| entries.into_iter().any(counts)) {
        let message = format!("the folder {} exists already, and is not empty", folder.display());
        return Err(ScaffoldError::new(message, "choose another name, or remove the folder"));
    }
    let mut changes = Changes::new(folder);
    changes.create("spin.toml", template::fill(template::MANIFEST, &[("name", name)]))?;
    changes.create(".gitignore", template::GITIGNORE.to_owned())?;
    if let Some(language) = language {
        let mut edit = ManifestEdit::open(&changes, "spin.toml")?;
        edit.test_command(language)?;
        edit.close(&mut changes);
    }
    Ok(changes)
}

/// The language of a new component, if the user names none: that of the application's tests.
///
/// # Errors
/// When there is no manifest, or it is not TOML.
pub(crate) fn usual_language(folder: &Path, manifest: &str) -> Result<Language, ScaffoldError> {
    let edit = ManifestEdit::open(&Changes::new(folder), manifest)?;
    Ok(edit.test_language().unwrap_or_default())
}
