//! `souk cluster`: what the hosts of the application have agreed on.

use super::{AppArgs, default_url, fill_in, output};
use crate::machine;
use clap::{Args, Subcommand};
use souk_links::cluster::{self, Places};
use souk_manifest::{Application, state};
use souk_nats::Nats;
use std::path::Path;
use std::process::ExitCode;

/// The arguments of `souk cluster`.
#[derive(Debug, Args)]
pub(super) struct ClusterCommand {
    #[command(flatten)]
    app: AppArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what is recorded, and how this host's configuration differs; fails if it does
    Show,
    /// Replace what is recorded by this host's configuration, after a secret was changed or data was moved. Stop the
    /// other hosts first
    Accept,
}

impl ClusterCommand {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = self.app.read()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        let application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
        let Some(config) = &application.nats else {
            anyhow::bail!("the application runs on one host: no NATS is named\n  fix: add `--nats URL`");
        };
        let nats = Nats::connect(config, &application.name).await?;
        match self.action {
            Action::Show => show(&nats, &application, &state_dir).await,
            Action::Accept => accept(&nats, &application, &state_dir).await,
        }
    }
}

fn places(application: &Application, state_dir: &Path, keep: bool) -> anyhow::Result<Places> {
    let id = state::id_of(state_dir, keep).map_err(|error| anyhow::anyhow!("{error}\n  fix: {}", error.fix()))?;
    Ok(Places::of(application, &id))
}

async fn show(nats: &Nats, application: &Application, state_dir: &Path) -> anyhow::Result<ExitCode> {
    let places = places(application, state_dir, false)?;
    let Some((record, differences)) = cluster::compare(nats, application, &places).await? else {
        output::line("nothing is recorded: no host of the application has started on this NATS");
        return Ok(ExitCode::SUCCESS);
    };
    output::text(&record.to_string());
    for difference in &differences {
        output::line(&format!("differs: {difference}"));
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn accept(nats: &Nats, application: &Application, state_dir: &Path) -> anyhow::Result<ExitCode> {
    // A folder that no host has used gets its id now, so that the host that starts later matches the record.
    if !state::exists(state_dir) {
        drop(state::StateFolder::open(state_dir)?);
    }
    let by = format!("an operator at {}", machine::name());
    let changed = cluster::accept(nats, application, &places(application, state_dir, true)?, &by).await?;
    for difference in &changed {
        output::line(&format!("accepted: {difference}"));
    }
    if changed.is_empty() {
        output::line("nothing differs");
    }
    Ok(ExitCode::SUCCESS)
}
