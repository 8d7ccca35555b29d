//! `souk limits`: how much of each budget the running host uses.

use super::{AppArgs, output};
use crate::admin::RunningHost;
use clap::Args;
use souk_manifest::state;
use std::process::ExitCode;

/// The arguments of `souk limits`.
#[derive(Debug, Args)]
#[command(after_help = "`souk doctor --limits` prints every limit, with its reason.")]
pub(super) struct Limits {
    #[command(flatten)]
    app: AppArgs,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Limits {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Only the state folder matters here, which the runtime configuration may set.
        let manifest = self.app.read();
        let state_dir = self.app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        let Some(mut host) = RunningHost::connect(&state::control_socket(&state_dir)).await else {
            anyhow::bail!(
                "no host runs on the state folder {}\n  fix: start one with `souk up`, or name its folder with --state-dir",
                state_dir.display()
            );
        };
        let uses = host.budgets().await?;
        if self.json {
            output::line(&serde_json::to_string(&uses)?);
        } else {
            for used in &uses {
                output::line(&format!("{:<28} {}", used.name, used.text));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
