//! Why data is not where the settings say.

use souk_manifest::{Application, Component, Diagnostic, ManifestErrors};
use std::io;
use std::path::PathBuf;

/// The data is not at the configured place.
#[derive(Debug, thiserror::Error)]
#[error("{message}\n  fix: {fix}")]
pub struct WrongPlace {
    pub(super) message: String,
    pub(super) fix: String,
}

impl WrongPlace {
    /// A copy of `name` to `to` is incomplete.
    pub(super) fn half_copied(name: &str, to: &str) -> Self {
        WrongPlace {
            message: format!("a copy of {name} to {to} was interrupted, so the data there is incomplete"),
            fix: format!("run the same `souk store copy {name}` again: it continues where it stopped"),
        }
    }

    /// The mistake in `component`, whose data it is.
    pub(super) fn mistake(self, application: &Application, component: Option<&Component>) -> Diagnostic {
        Diagnostic {
            file: application.manifest.clone(),
            line: component.map(|component| component.line),
            component: component.map(|component| component.name.clone()),
            message: self.message,
            fix: self.fix,
        }
    }
}

/// The application does not start, because of the places of its data.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The data of components is not at the configured places; each with component and line.
    #[error(transparent)]
    Mistakes(#[from] ManifestErrors),
    /// The data of a command is not at the configured place.
    #[error(transparent)]
    Wrong(#[from] WrongPlace),
    /// The file cannot be read or written.
    #[error("{}: {cause}\n  fix: make the state folder readable and writable for the host's user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}
