//! `souk backup` and `souk restore`: copies the application's data at one moment, and restores it.

use super::package::ObtainArgs;
use super::{AppArgs, default_url, fill_in, output};
use crate::backup::{self, List};
use crate::moving;
use clap::Args;
use souk_manifest::Application;
use souk_manifest::state::{self, StateFolder};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// The arguments of `souk backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "The host may run meanwhile: writers wait for a second at most. The backup leaves out secrets (but see\n\
                  --secrets) and data in PostgreSQL, NATS, Redis or MongoDB, which it only names."
)]
pub(super) struct Backup {
    #[command(flatten)]
    app: AppArgs,
    /// The folder of the backup, which is new or empty
    folder: PathBuf,
    /// Include the secrets of the state folder, encrypted by age for the key in this file: a public key (`age1...`), or
    /// a passphrase
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

/// The arguments of `souk restore`.
#[derive(Debug, Args)]
#[command(after_help = "The state folder must have no data, and no host may run on it.")]
pub(super) struct Restore {
    #[command(flatten)]
    app: AppArgs,
    /// The folder that `souk backup` made
    folder: PathBuf,
    /// Restore its secrets too, with the key in this file: the secret key, or the passphrase
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    package_options: ObtainArgs,
}

/// The application and its state folder, in which nothing is created.
fn application(app: &AppArgs) -> anyhow::Result<(Application, PathBuf)> {
    let manifest = app.read()?;
    let state_dir = app.state_dir(manifest.state_dir());
    // No secrets are used, so none is created.
    Ok((fill_in(manifest, default_url(), state::secrets_of(&state_dir))?, state_dir))
}

/// Warns when other users can read the key for the secrets.
fn warn_of_readers(key: Option<&Path>) {
    if let Some(warning) = key.and_then(backup::key_warning) {
        output::note(&format!("warning: {warning}"));
    }
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (application, state_dir) = application(&self.app)?;
        warn_of_readers(self.secrets.as_deref());
        let folder = self.folder.clone();
        let key = self.secrets;
        let take = move || {
            // With other settings than the host's, its data elsewhere would be left out.
            moving::must_match(&application, &state_dir)?;
            anyhow::Ok(backup::take(&application, &state_dir, &folder, key.as_deref())?)
        };
        let list = tokio::task::spawn_blocking(take).await??;
        print(&list, &format!("backed up to {}", self.folder.display()));
        for place in &list.elsewhere {
            output::note(&format!("not in it: {place}"));
        }
        match &list.secrets {
            Some(file) => {
                output::note(&format!("secrets of the state folder: {}; keep its key, and .env, elsewhere", file.path))
            }
            None => {
                output::note(
                    "not in it: secrets; keep the secrets of the state folder and of .env in a separate \
                              place",
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // A start would put the package into the empty state folder, but data too.
        if self.app.located().is_err() {
            self.app.obtain(&self.package_options, false).await?;
        }
        let (application, state_dir) = application(&self.app)?;
        warn_of_readers(self.secrets.as_deref());
        let state = StateFolder::open_for_restore(&state_dir)?;
        let folder = self.folder.clone();
        let (key, sealed) = (self.secrets.clone(), self.secrets.is_none());
        let restore = move || backup::restore(&application, &state, &folder, key.as_deref());
        let list = tokio::task::spawn_blocking(restore).await??;
        if sealed && list.secrets.is_some() {
            output::note(
                "not restored: its secrets; name the file with their key, --secrets FILE, or put back your own",
            );
        }
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

/// Formats a time in UTC.
fn moment(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
