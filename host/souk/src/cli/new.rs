//! `souk new`: creates an empty application.

use super::output;
use crate::scaffold::{self, Language};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `souk new`.
#[derive(Debug, Args)]
#[command(after_help = "Example: souk new shop && cd shop && souk add web --http /... && souk test")]
pub(super) struct New {
    /// The application: the name of its folder, which is created, or `.` for an empty one
    name: PathBuf,
    /// The language of its tests, and of components that are added without --language [default: that of the first
    /// component]
    #[arg(long, value_enum)]
    language: Option<Language>,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // `.` is named after its folder.
        let named = std::path::absolute(&self.name)?;
        let name = named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let changes = scaffold::new(&self.name, &name, self.language)?;
        super::add::write(&changes, &self.name)?;
        let enter = match self.name.file_name() {
            Some(_) => format!("cd {} && ", self.name.display()),
            None => String::new(),
        };
        output::note(&format!("next: {enter}souk add web --http /..."));
        Ok(ExitCode::SUCCESS)
    }
}
