//! `souk doctor`: checks that everything is in place, and shows what each component may do.

use super::build::BuildEnvironment;
use super::{AppArgs, default_url, fill_in, output, progress, stale, tools};
use crate::admin::RunningHost;
use crate::admin::examine::Level;
use crate::app::{App, describe};
use crate::{fetch, limits};
use clap::Args;
use souk_manifest::limits::{ComponentLimits, EdgeLimits, Limit, LimitValue};
use souk_manifest::state::{self, StateFolder};
use souk_manifest::{Application, DatabaseUrl};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `souk doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "If a host runs on the state folder, it reports its state; without one, all components are compiled and linked.\n\
                  Exits with 0 when all is well, with 1 when something is wrong. The last line is the verdict."
)]
pub(super) struct Doctor {
    #[command(flatten)]
    app: AppArgs,
    /// Exit with 1 for a warning, too
    #[arg(long)]
    strict: bool,
    /// Print every limit, with its value and its reason
    #[arg(long)]
    limits: bool,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut verdict = Verdict::default();
        let manifest = self.app.manifest();
        // A mistake in the manifest is reported below.
        if let Ok(plan) = souk_manifest::load_build_only(&manifest) {
            let environment = BuildEnvironment::of(&manifest, self.app.runtime_config_file.as_deref());
            for found in tools::check(&plan, &environment).await {
                match found.level {
                    Some(level) => verdict.note(found.name, level, &found.text),
                    None => output::line(&format!("info  {}: {}", found.name, found.text)),
                }
            }
        }
        let mut check = |name: &str, good: bool, text: String| {
            verdict.note(name, if good { Level::Ok } else { Level::Wrong }, &text);
        };
        let mut state_dir = PathBuf::new();
        let loaded = self.app.read().and_then(|manifest| {
            state_dir = self.app.state_dir(manifest.state_dir());
            let mut application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
            fetch::locate(&mut application, &state_dir);
            Ok(application)
        });
        let loaded = match loaded {
            Ok(application) => {
                check("manifest", true, manifest.display().to_string());
                Some(application)
            }
            Err(error) => {
                check("manifest", false, format!("{error:#}"));
                None
            }
        };
        let mut edge = EdgeLimits::default();
        if let Some(application) = &loaded {
            for component in application.here() {
                let there = component.source.is_file();
                let fix = if there { "" } else { " is missing\n  fix: souk build" };
                check(&format!("component {}", component.name), there, format!("{}{fix}", component.source.display()));
            }
            // A warning only: it may be intended, and a changed source need not be part of the component.
            stale::stale(application).iter().for_each(|warning| output::line(&format!("old   {warning}")));
            let running = RunningHost::connect(&state::control_socket(&state_dir)).await;
            match running {
                // The running host has compiled and linked all components already.
                Some(mut host) => match host.examine().await {
                    Ok(findings) => {
                        findings.iter().for_each(|found| verdict.note(&found.name, found.level, &found.text));
                    }
                    Err(error) => verdict.note("host", Level::Wrong, &super::with_causes(&error)),
                },
                None => match start(application.clone(), &state_dir.join("cache")).await {
                    Ok(()) => {
                        let said = "components compile and link; migrations of SQLite run on empty databases (see `souk \
                                    migrate --status` for the databases that there are)";
                        check("start", true, said.into());
                    }
                    Err(error) => check("start", false, super::with_causes(&error)),
                },
            }
            output::text(&describe(application, ""));
            variables(application);
            edge = application.limits.clone();
        }
        if self.limits {
            print_limits(&edge, loaded.as_ref());
        } else {
            output::line("Limits: `souk doctor --limits` prints each with its value and its reason.");
        }
        Ok(verdict.end(self.strict))
    }
}

/// Prints every limit, with the values of the application.
fn print_limits(edge: &EdgeLimits, application: Option<&Application>) {
    output::line("Limits of the HTTP edge ([application.tool.souk.limits]):");
    table(EdgeLimits::TABLE, &edge.values());
    output::line("\nLimits of a component ([component.NAME.tool.souk.limits]):");
    table(ComponentLimits::TABLE, &ComponentLimits::default().values());
    for component in application.iter().flat_map(|application| application.components.values()) {
        let own = component.limits.values();
        for (limit, value) in ComponentLimits::TABLE.iter().zip(own).filter(|(l, v)| l.default != *v) {
            output::line(&format!("  {}: {} = {value}", component.name, limit.key));
        }
    }
    output::text(&fixed_limits());
}

/// Prints where the value of each variable comes from, without the value.
fn variables(application: &Application) {
    if application.variable_places.is_empty() {
        return;
    }
    output::line("Variables, and where their values come from:");
    let width = application.variable_places.keys().map(String::len).max().unwrap_or_default();
    for (name, place) in &application.variable_places {
        output::line(&format!("  {name:width$}  {place}"));
    }
    output::line("");
}

/// The total of all findings.
#[derive(Default)]
struct Verdict {
    warnings: usize,
    wrong: usize,
}

impl Verdict {
    fn note(&mut self, name: &str, level: Level, text: &str) {
        let mark = match level {
            Level::Ok => "ok   ",
            Level::Warning => "warn ",
            Level::Wrong => "WRONG",
        };
        self.warnings += usize::from(level == Level::Warning);
        self.wrong += usize::from(level == Level::Wrong);
        output::line(&format!("{mark} {name}: {text}"));
    }

    /// Prints the result on the last line, for a monitor that shows only one line.
    fn end(self, strict: bool) -> ExitCode {
        let Verdict { warnings, wrong } = self;
        let several = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let (text, code) = match (wrong, warnings) {
            (0, 0) => ("well".to_owned(), ExitCode::SUCCESS),
            (0, warnings) => {
                let code = if strict { ExitCode::FAILURE } else { ExitCode::SUCCESS };
                (format!("well, with {}", several(warnings, "warning")), code)
            }
            (wrong, warnings) => {
                let text = format!("WRONG: {} and {}", several(wrong, "fault"), several(warnings, "warning"));
                (text, ExitCode::FAILURE)
            }
        };
        output::line(&format!("\nverdict: {text}"));
        code
    }
}

/// Starts the application without HTTP, with a temporary state folder. Compiled code comes from `cache` and is kept
/// there if this process may write: compiling large components takes minutes.
async fn start(mut application: Application, cache: &Path) -> anyhow::Result<()> {
    // Without the databases and stores that the runtime configuration places elsewhere, which hold real data.
    application.sqlite_paths.clear();
    application.key_value_places.clear();
    for component in application.components.values_mut() {
        if matches!(component.database, Some(DatabaseUrl::Postgres(_))) {
            component.migrations = None;
        }
    }
    let folder = tempfile::tempdir()?;
    if tempfile::tempfile_in(cache).is_ok() {
        std::os::unix::fs::symlink(std::path::absolute(cache)?, folder.path().join("cache"))?;
    }
    let state = StateFolder::open(folder.path())?;
    App::try_out(application, &state, progress::compiled()).await?;
    Ok(())
}

fn table(limits: &[Limit], values: &[LimitValue]) {
    for (limit, value) in limits.iter().zip(values) {
        output::line(&format!("  {:<21} {value:>17}  {}", limit.key, limit.reason));
    }
}

/// The limits that no manifest changes, grouped by part of the host.
fn fixed_limits() -> String {
    let mut text = "\nFixed limits, which no manifest changes:\n".to_owned();
    let mut module = "";
    for limit in limits::fixed_limits() {
        if limit.module != module {
            module = limit.module;
            text += &format!("  {module}\n");
        }
        text += &format!("    {:<24} {:>17} {}\n", limit.name(), limit.value, limit.comment);
    }
    text
}
