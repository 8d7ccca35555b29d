//! The files that a command is going to write, all known before the first is written.

use crate::contracts::Contracts;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why nothing is written.
#[derive(Debug)]
pub(crate) struct ScaffoldError {
    message: String,
    fix: String,
}

impl ScaffoldError {
    /// What is wrong, and what fixes it.
    pub(super) fn new(message: impl Into<String>, fix: impl Into<String>) -> ScaffoldError {
        ScaffoldError { message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for ScaffoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  fix: {}", self.message, self.fix)
    }
}

impl std::error::Error for ScaffoldError {}

/// Files to write in one folder.
#[derive(Debug)]
pub(crate) struct Changes {
    folder: PathBuf,
    /// By path below the folder.
    files: BTreeMap<PathBuf, String>,
    notes: Vec<String>,
}

impl Changes {
    pub(super) fn new(folder: &Path) -> Changes {
        Changes { folder: folder.to_owned(), files: BTreeMap::new(), notes: Vec::new() }
    }

    /// A file that must not exist yet, unless with the same text.
    pub(super) fn create(&mut self, path: impl AsRef<Path>, text: String) -> Result<(), ScaffoldError> {
        match self.read(&path) {
            Some(existing) if existing == text => Ok(()),
            Some(_) => Err(ScaffoldError::new(
                format!("{} exists already", self.folder.join(path).display()),
                "choose another name, or move the file away",
            )),
            None => {
                self.files.insert(path.as_ref().to_owned(), text);
                Ok(())
            }
        }
    }

    /// A file that may exist, with new content.
    pub(super) fn replace(&mut self, path: impl AsRef<Path>, text: String) {
        if self.read(&path).as_ref() != Some(&text) {
            self.files.insert(path.as_ref().to_owned(), text);
        }
    }

    /// The text that a file will have; `None` when there is no file.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        self.files.get(path).cloned().or_else(|| std::fs::read_to_string(self.folder.join(path)).ok())
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Checks that the contracts in `wit/` are valid with the new ones, if they are valid now.
    ///
    /// # Errors
    /// When they are not: for example, a name is a keyword of WIT, or is there twice.
    pub(super) fn check_contracts(&self) -> Result<(), ScaffoldError> {
        let new = self.files.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "wit"));
        let new = new.map(|(path, text)| (self.folder.join(path), text.clone())).collect();
        let folder = self.folder.join("wit");
        match Contracts::read_with(&folder, new) {
            Err(error) if Contracts::read(&folder).is_ok() => Err(ScaffoldError::new(
                format!("the contracts in wit/ would not be valid: {error}"),
                "choose another name for the interface or the package",
            )),
            _ => Ok(()),
        }
    }

    /// Adds a note for the user.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The notes for the user.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The paths of the files below the folder.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Writes all files.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        for (path, text) in &self.files {
            let path = self.folder.join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, text)?;
        }
        Ok(())
    }
}
