//! `souk replay`: runs recorded calls again, without any effect.
//!
//! It needs no host: it reads what a host on this machine recorded in the state folder.

use super::{AppArgs, default_url, fill_in, output};
use crate::app::deploy::version_folder::{VersionFolder, digest};
use crate::fetch;
use crate::recordings::{self, Replayed, Replayer};
use crate::telemetry::{self, Format};
use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat};
use clap::Args;
use souk_bindings::printable;
use souk_bindings::tape::{Answer, Recording};
use souk_manifest::{Application, state};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `souk replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Calls of a component are recorded when its table [component.NAME.tool.souk] has `record = true`.\n\
                  Example: souk replay 0197c3b2e4 --component orders --with target/wasm32-wasip2/release/orders.wasm"
)]
pub(super) struct Replay {
    #[command(flatten)]
    app: AppArgs,
    /// The trace, or the request id (`x-request-id`) of the calls to replay
    #[arg(value_name = "TRACE", required_unless_present_any = ["list", "all"])]
    trace: Option<String>,
    /// List what is recorded
    #[arg(long, conflicts_with_all = ["trace", "all", "with"])]
    list: bool,
    /// Replay everything that is recorded
    #[arg(long, conflicts_with = "trace")]
    all: bool,
    /// Only calls of this component
    #[arg(long)]
    component: Option<String>,
    /// Another file of the component, to see how it differs
    #[arg(long, value_name = "FILE", requires = "component")]
    with: Option<PathBuf>,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = self.app.read()?;
        let state_dir = self.app.state_dir(manifest.state_dir());
        let mut recorded = recordings::read(&state_dir, self.trace.as_deref())
            .with_context(|| format!("the recorded calls in {} cannot be read", state_dir.display()))?;
        recorded.retain(|one| self.component.as_ref().is_none_or(|component| one.head.component == *component));
        if self.list {
            recorded.iter().for_each(|one| output::line(&line(one)));
            if recorded.is_empty() {
                output::note(
                    "nothing is recorded: set `record = true` under [component.NAME.tool.souk], and run `souk reload`",
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        if recorded.is_empty() {
            bail!(
                "nothing matching is recorded\n  fix: set `record = true` under [component.NAME.tool.souk], run \
                 `souk reload` and make the call again; `souk replay --list` shows what is recorded, for a day"
            );
        }
        let mut application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
        fetch::locate(&mut application, &state_dir);
        let _log = telemetry::start("warn,guest=info,souk_bindings=error", Format::Text)?;
        let mut replayer = Replayer::new(&application, &state_dir.join("cache")).await?;
        let mut differ = 0;
        for one in &recorded {
            let file = match &self.with {
                Some(file) => file.clone(),
                None => file_of(&application, one, &state_dir)?,
            };
            let replayed = replayer.replay(one, &file).await?;
            differ += usize::from(!show(one, &replayed));
        }
        let of = recorded.len();
        output::line(&match differ {
            0 => format!("{of} of {of} calls as recorded"),
            _ => format!("{differ} of {of} calls differ"),
        });
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn line(one: &Recording) -> String {
    let head = &one.head;
    let time = i64::try_from(head.time).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let name = printable(&one.question.name());
    format!("{time} {} {} {name} ({} imports)", head.request, head.component, one.imports.len())
}

/// The component's file at the time of the recording: the manifest's, or a deployed one.
fn file_of(application: &Application, one: &Recording, state: &Path) -> anyhow::Result<PathBuf> {
    let head = &one.head;
    let source = application.components.get(&head.component).map(|component| component.source.clone());
    let known = source.into_iter().chain([VersionFolder::of(state).file(&head.digest)]);
    for path in known {
        if std::fs::read(&path).is_ok_and(|bytes| digest(&bytes) == head.digest) {
            return Ok(path);
        }
    }
    bail!(
        "the file of `{}` has changed since the call was recorded\n  fix: add `--component {} --with FILE` to replay it with \
         another file",
        head.component,
        head.component
    )
}

/// Prints the result of a replay; returns whether everything was as recorded.
fn show(one: &Recording, replayed: &Replayed) -> bool {
    let what = format!("{} {} {}", one.head.request, one.head.component, printable(&one.question.name()));
    if let Some(difference) = &replayed.difference {
        output::line(&format!("{what}: differs at import {}", difference.at + 1));
        let shown = |import: &Option<String>| printable(import.as_deref().unwrap_or("nothing more"));
        output::line(&format!("  recorded: {}", shown(&difference.recorded)));
        output::line(&format!("  now:      {}", shown(&difference.now)));
        return false;
    }
    if let Some(answer) = &replayed.answer {
        output::line(&format!("{what}: {} imports as recorded, but another answer", replayed.imports));
        output::line(&format!("  recorded: {}", text(&one.answer)));
        output::line(&format!("  now:      {}", text(answer)));
        return false;
    }
    output::line(&format!("{what}: as recorded ({} imports)", replayed.imports));
    true
}

/// An answer on one line; what strangers have sent must not control the terminal.
fn text(answer: &Answer) -> String {
    let text = match answer {
        Answer::Returned(json) => json.clone(),
        Answer::Response { status, headers, body } => {
            let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("{status} {{{}}} {body}", headers.join(", "))
        }
        Answer::Failed(why) => format!("failed: {why}"),
    };
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_shown_does_not_control_the_terminal() {
        let headers = vec![("a".to_owned(), "b".to_owned())];
        let answer = Answer::Response { status: 200, headers, body: "\u{1b}]0;x\u{7}one\ntwo".to_owned() };
        let shown = text(&answer);
        assert!(!shown.contains(char::is_control) && shown.contains("one") && shown.contains("two"), "{shown:?}");
    }
}
