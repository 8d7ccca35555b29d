//! `souk deploy`, `souk versions`, `souk rollback` and `souk reload`: give the running host new versions of components,
//! or a changed manifest.

use super::{AppArgs, output};
use crate::admin::RunningHost;
use crate::app::deploy::{Deployed, VersionFacts};
use crate::fetch::read_component;
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use souk_manifest::state;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `souk deploy`.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    #[command(flatten)]
    app: AppArgs,
    /// The component
    component: String,
    /// Its new file [default: the manifest's `source`]
    file: Option<PathBuf>,
    /// First try it out with this share of the calls, such as 5%
    #[arg(long, value_name = "SHARE")]
    canary: Option<String>,
    /// How long the trial takes [default: 60s]
    #[arg(long = "for", value_name = "TIME", requires = "canary")]
    time: Option<String>,
    /// The share of the trial's calls that may fail [default: 1%]
    #[arg(long, value_name = "SHARE", requires = "canary")]
    max_errors: Option<String>,
    /// How many times as long as before the trial's calls may take [default: 2]
    #[arg(long, value_name = "TIMES", requires = "canary")]
    max_slowdown: Option<String>,
    /// Let the version on trial serve all calls now
    #[arg(long, conflicts_with_all = ["file", "canary", "check"])]
    promote_anyway: bool,
    /// Print what would happen, and change nothing
    #[arg(long)]
    check: bool,
}

/// The arguments of `souk versions`.
#[derive(Debug, Args)]
pub(super) struct Versions {
    #[command(flatten)]
    app: AppArgs,
    /// The component [default: all]
    component: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `souk rollback`.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    app: AppArgs,
    /// The component
    component: String,
    /// The number of the version [default: the previous one]
    version: Option<u64>,
}

/// The arguments of `souk reload`.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    app: AppArgs,
}

impl Reload {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let done = host(&self.app).await?.reload().await?;
        done.applied.iter().for_each(|line| output::line(&format!("applied: {line}")));
        done.left.iter().for_each(|line| output::line(&format!("left:    {line}")));
        if done.applied.is_empty() && done.left.is_empty() {
            output::line("nothing has changed");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Connects to the host that runs the application.
async fn host(app: &AppArgs) -> anyhow::Result<RunningHost> {
    let configured = app.read().ok().and_then(|manifest| manifest.state_dir().map(PathBuf::from));
    let folder = app.state_dir(configured.as_deref());
    match RunningHost::connect(&state::control_socket(&folder)).await {
        Some(host) => Ok(host),
        None => anyhow::bail!(
            "no host runs with the state folder {}\n  fix: start one with `souk up`, or name the folder with --state-dir; \
             if no host runs, `souk up` starts the manifest's files",
            folder.display()
        ),
    }
}

fn print_message(done: &Deployed) -> ExitCode {
    output::line(&format!("{}: {}", done.component, done.message));
    ExitCode::SUCCESS
}

impl Deploy {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut host = host(&self.app).await?;
        if self.promote_anyway {
            return Ok(print_message(&host.promote(&self.component).await?));
        }
        let file = match &self.file {
            Some(path) => read_component(path).map_err(|error| {
                anyhow::anyhow!("cannot read {}: {error}\n  fix: build it, or name another file", path.display())
            })?,
            None => Vec::new(),
        };
        let options = [
            ("canary", self.canary),
            ("for", self.time),
            ("max-errors", self.max_errors),
            ("max-slowdown", self.max_slowdown),
            ("check", self.check.then(|| "true".to_owned())),
        ];
        let given = options.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let query: Vec<String> =
            given.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        // Compiling a large component takes tens of seconds.
        output::note(&format!("the host compiles and checks {}", self.component));
        Ok(print_message(&host.deploy(&self.component, &query.join("&"), file).await?))
    }
}

impl Rollback {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        Ok(print_message(&host(&self.app).await?.roll_back(&self.component, self.version).await?))
    }
}

impl Versions {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let versions = host(&self.app).await?.versions(self.component.as_deref()).await?;
        if self.json {
            output::line(&serde_json::to_string(&versions)?);
        } else {
            output::text(&table(&versions));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line for each version, with remarks below it.
fn table(versions: &[VersionFacts]) -> String {
    let width = versions.iter().map(|version| version.component.len()).max().unwrap_or(0).max("COMPONENT".len());
    let mut text =
        format!("{:<width$}  VERSION  STATE        DIGEST        SIZE      DEPLOYED              BY\n", "COMPONENT");
    for VersionFacts { component, state, percent, record, calls } in versions {
        let state = percent.map_or_else(|| state.clone(), |percent| format!("{state} {percent}%"));
        let digest = record.digest.get(..12).unwrap_or(&record.digest);
        text.push_str(&format!(
            "{component:<width$}  {:<7}  {state:<11}  {digest}  {:<8}  {}  {}\n",
            record.number, record.size, record.at, record.by
        ));
        if let Some(calls) = calls {
            text.push_str(&format!(
                "{:<width$}           {} calls, {} failed, half took {} us or more\n",
                "", calls.calls, calls.failed, calls.median_us
            ));
        }
        if let Some(note) = &record.note {
            text.push_str(&format!("{:<width$}           {note}\n", ""));
        }
    }
    text
}
