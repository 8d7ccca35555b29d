//! `souk backup` and `souk restore`: the application's data at one moment, and back again.

use super::{AppArgs, default_url, fill_in, output};
use crate::backup::{self, List};
use clap::Args;
use souk_manifest::Application;
use souk_manifest::state::{self, StateFolder};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// The arguments of `souk backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "The host may run meanwhile: writers wait for a moment, a second at most. Left out are secrets, and \
                        what is in\nPostgreSQL, NATS or Redis, which is named."
)]
pub(super) struct Backup {
    #[command(flatten)]
    app: AppArgs,
    /// The folder of the backup; it is made, or empty
    folder: PathBuf,
}

/// The arguments of `souk restore`.
#[derive(Debug, Args)]
#[command(after_help = "The state folder must have no data, and no host may run on it.")]
pub(super) struct Restore {
    #[command(flatten)]
    app: AppArgs,
    /// The folder that `souk backup` made
    folder: PathBuf,
}

/// The application and its state folder; nothing is made there.
fn application(app: &AppArgs) -> anyhow::Result<(Application, PathBuf)> {
    let manifest = app.read()?;
    let state_dir = app.state_dir(manifest.state_dir());
    // No secret is used, so none is made.
    Ok((fill_in(manifest, default_url(), state::secrets_of(&state_dir))?, state_dir))
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (application, state_dir) = application(&self.app)?;
        let folder = self.folder.clone();
        let list = tokio::task::spawn_blocking(move || backup::take(&application, &state_dir, &folder)).await??;
        print(&list, &format!("backed up to {}", self.folder.display()));
        for place in &list.elsewhere {
            output::note(&format!("not in it: {place}"));
        }
        output::note("not in it: secrets; keep those of the state folder, or of .env, in a place of their own");
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (application, state_dir) = application(&self.app)?;
        let state = StateFolder::open_for_restore(&state_dir)?;
        let folder = self.folder.clone();
        let list = tokio::task::spawn_blocking(move || backup::restore(&application, &state, &folder)).await??;
        print(&list, &format!("restored to {}", state_dir.display()));
        for place in &list.elsewhere {
            output::note(&format!("not in it: {place}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(list: &List, done: &str) {
    for file in &list.files {
        output::line(&format!("{:>12} {}", file.bytes, file.path));
    }
    let taken = moment(list.taken);
    output::line(&format!("{done}: {} files of {} {}, {taken}", list.files.len(), list.application, list.version));
}

/// A moment as text, in UTC.
fn moment(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
