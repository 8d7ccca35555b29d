//! Why contracts cannot be used.

use std::path::PathBuf;

/// Why contracts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file is not valid, or contradicts another file.
    #[error("{0}")]
    Wrong(String),
    /// No file has the interface.
    #[error("no file in {} contains `{wanted}`\n  fix: {fix}", folder.display())]
    Missing {
        /// The folder of contracts.
        folder: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What would help.
        fix: String,
    },
}
