//! `souk profile`: shows where a component of the running host spends its CPU time.

use super::{AppArgs, output, traces};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The arguments of `souk profile`.
#[derive(Debug, Args)]
#[command(
    after_help = "Open the file at https://profiler.firefox.com: your browser reads it there and sends it nowhere."
)]
pub(super) struct Profile {
    #[command(flatten)]
    app: AppArgs,
    /// The component
    component: String,
    /// How long to profile, a minute at most
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// The file to write [default: COMPONENT.profile.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Profile {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.out.unwrap_or_else(|| format!("{}.profile.json", self.component).into());
        let profile = traces::host(&self.app).await?.profile(&self.component, self.time).await?;
        std::fs::write(&file, profile.get()).with_context(|| format!("{} cannot be written", file.display()))?;
        output::line(&format!("wrote {}: open it at https://profiler.firefox.com", file.display()));
        Ok(ExitCode::SUCCESS)
    }
}
