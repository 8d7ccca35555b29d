//! Why a deployment or a reload changed nothing.

use souk_manifest::{Component as Declared, Diagnostic, ManifestErrors};
use std::io;

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The component does not exist, or does not run here.
    #[error("{0}")]
    NotHere(String),
    /// The request cannot be fulfilled.
    #[error("{0}")]
    Refused(String),
    /// The new version is wrong.
    #[error("nothing was deployed, because the new version of `{component}` has these mistakes:\n{errors}")]
    Wrong {
        /// The component.
        component: String,
        /// The mistakes.
        errors: ManifestErrors,
    },
    /// The manifest that is to be applied is wrong.
    #[error("nothing was applied, because of what is wrong with the manifest:\n{errors}")]
    Manifest {
        /// The mistakes.
        errors: ManifestErrors,
    },
    /// The versions cannot be recorded.
    #[error(
        "component `{component}`: its versions cannot be stored: {cause}\n  fix: make room in the state folder, and \
         make it writable"
    )]
    NotKept {
        /// The component.
        component: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// An error as a part of one line of the log.
pub(super) fn on_one_line(error: &DeployError) -> String {
    error.to_string().replace("\n  fix: ", "; fix: ").replace('\n', " ")
}

/// The error with what was `done` before it and stays, in words.
pub(super) fn after(error: DeployError, done: &str) -> DeployError {
    match error {
        DeployError::Refused(message) => DeployError::Refused(format!("{message}\n  {done}")),
        DeployError::NotKept { component, cause } => {
            let cause = io::Error::new(cause.kind(), format!("{cause}; {done}"));
            DeployError::NotKept { component, cause }
        }
        error => error,
    }
}

/// A step in the background did not end.
pub(super) fn stopped(component: &str) -> DeployError {
    DeployError::Refused(format!(
        "component `{component}`: the host could not do this in the background\n  fix: read its log, and try again"
    ))
}

/// The new version of a component has this mistake.
pub(super) fn wrong(declared: &Declared, mistake: Diagnostic) -> DeployError {
    DeployError::Wrong { component: declared.name.clone(), errors: ManifestErrors(vec![mistake]) }
}

/// The versions of a component cannot be recorded.
pub(super) fn not_kept(declared: &Declared, cause: std::io::Error) -> DeployError {
    DeployError::NotKept { component: declared.name.clone(), cause }
}
