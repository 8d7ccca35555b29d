//! `souk seed`: adds an application's example data to its databases, or removes it.
//!
//! It works on the databases and not on a running application, which holds the state folder: SQLite has one writer, and
//! examples are added once.

use super::{AppArgs, default_url, fill_in, output};
use crate::app;
use crate::moving;
use clap::Args;
use souk_manifest::state::{self, StateFolder};
use std::process::ExitCode;

/// The arguments of `souk seed`.
#[derive(Debug, Args)]
pub(super) struct Seed {
    #[command(flatten)]
    app: AppArgs,
    /// Remove the examples that nobody has changed, unless a component's data refers to them
    #[arg(long)]
    remove: bool,
}

impl Seed {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = self.app.read()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        // The scripts use no secrets, so none is created.
        let application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
        let state = StateFolder::open(&state_dir)?;
        // Rows in another database than the host's would make its next start take that one for its own.
        moving::must_match(&application, state.path())?;
        let (done, what) = match self.remove {
            true => (app::remove_examples(&application, &state).await?, "removed"),
            false => (app::add_examples(&application, &state).await?, "added"),
        };
        for component in done {
            output::line(&format!("{component}: examples {what}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
