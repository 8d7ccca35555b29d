//! `souk migrate`: migrates the databases without starting the application.

use super::{AppArgs, default_url, fill_in, output};
use crate::app;
use clap::Args;
use souk_manifest::state::{self, StateFolder};
use std::process::ExitCode;

/// The arguments of `souk migrate`.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    app: AppArgs,
    /// Only show which migrations are applied, pending or changed
    #[arg(long)]
    status: bool,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = self.app.read()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        // Migrations use no secrets, so none is created.
        let application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
        if self.status {
            let (text, clean) = app::migration_status(&application, &state_dir).await?;
            output::text(&text);
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let state = StateFolder::open(&state_dir)?;
        for (component, applied) in app::migrate(&application, &state).await? {
            output::line(&format!("{component}: {applied} applied"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
