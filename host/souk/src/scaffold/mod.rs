//! Applications and components that are written for whoever begins one: `souk new` and `souk add`.
//!
//! What is written builds, starts and passes its own test at once; nothing in it is left to fill in. The templates are part
//! of the program, so that it needs no other place, and the applications in `examples/` are made by it: a test compares.
//!
//! A command first works out every file that it would write, and then writes all of them: what cannot be written, or would
//! replace a file that somebody wrote, is refused before anything is there. `spin.toml` and `Cargo.toml` are edited as
//! documents, so comments and order stay.
//!
//! # Where the libraries come from
//!
//! A component may use libraries of Souk's (a database, a key-value store), and its test uses `souk-test`. They are in no
//! registry, so `souk add` writes their sources into the application's folder `libraries/`, out of the program: that works
//! without a network, fits the host that wrote them, and can be read. A dependency on a git repository would need one that
//! can be reached, and clone all of it. In an application that is made with `--souk DIR`, they stay where they are, in a
//! checkout of Souk.

mod changes;
mod component;
mod libraries;
mod link;
mod manifest;
mod other_languages;
mod template;
#[cfg(test)]
mod tests;
mod workspace;

pub(crate) use changes::{Changes, ScaffoldError};
pub(crate) use component::{Kind, Language, NewComponent, Storage, add};
pub(crate) use link::{NewLink, add_link};

use std::path::Path;

/// A new application in `folder`, called `name`.
///
/// # Errors
/// When the name cannot be one, or there is something in the folder already.
pub(crate) fn new(folder: &Path, name: &str) -> Result<Changes, ScaffoldError> {
    souk_manifest::check_component(name).map_err(|why| {
        ScaffoldError::new(
            format!("`{name}` cannot be an application's name: {why}"),
            "name it with words of letters and digits, joined by `-`: `souk new link-shop`",
        )
    })?;
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("the folder {} is there already, and is not empty", folder.display());
        return Err(ScaffoldError::new(message, "choose another name, or remove the folder"));
    }
    let mut changes = Changes::new(folder);
    changes.create("spin.toml", template::fill(template::MANIFEST, &[("name", name)]))?;
    changes.create(".gitignore", template::GITIGNORE.to_owned())?;
    Ok(changes)
}
