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
    /// The application: the name of its folder, which is created
    name: PathBuf,
    /// The language of its tests, and of components that are added without --language [default: that of the first
    /// component]
    #[arg(long, value_enum)]
    language: Option<Language>,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let changes = scaffold::new(&self.name, &name, self.language)?;
        super::add::write(&changes, &self.name)?;
        output::note(&format!("next: cd {} && souk add web --http /...", self.name.display()));
        Ok(ExitCode::SUCCESS)
    }
}
