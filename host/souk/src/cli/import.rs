//! `souk import`: imports rows of another system through the components that accept them.

use super::reach::{Reached, reach};
use super::{AppArgs, by_hand, default_url, fill_in, output};
use crate::admin::call;
use crate::fetch;
use crate::imports::{Caller, INTERFACE, Kind, Outcome, Place, Run};
use crate::telemetry::{self, Format};
use crate::url_file;
use clap::Args;
use serde_json::value::RawValue;
use souk_manifest::state;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::time::Instant;

/// The arguments of `souk import`.
#[derive(Debug, Args)]
#[command(
    after_help = "PLACE is a SQLite file, a file with JSON objects (as mongoexport writes it, with or without --jsonArray),\n\
                  `-` for such a file in the standard input, postgres://USER:PASSWORD@HOST/DATABASE,\n\
                  mongodb://HOST/DATABASE or mongodb+srv://NAME/DATABASE, or @FILE, a file that contains the URL (`@-`: the\n\
                  standard input): other users of this machine can see a password on the command line. The place is only\n\
                  read.\n\n\
                  The application may run meanwhile. If an import is interrupted, run it again: no row is imported twice.\n\n\
                  Example: souk import users mongodb://127.0.0.1/AuthDB --dry-run"
)]
pub(super) struct Import {
    #[command(flatten)]
    app: AppArgs,
    /// The kind of rows to import; without it, the available kinds are listed
    #[arg(requires = "place")]
    name: Option<String>,
    /// The place of the rows
    place: Option<String>,
    /// Only report what would be imported and what refused
    #[arg(long)]
    dry_run: bool,
    /// The file for rows that are refused or changed, with the reason [default: NAME-refused.jsonl, with --dry-run
    /// NAME-dry-run.jsonl]
    #[arg(long, value_name = "FILE")]
    refusals: Option<PathBuf>,
}

/// A kind of rows and the component that imports it.
struct Offer {
    component: String,
    interface: String,
    kind: Kind,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // What is wrong with it is said once the name is known to be right.
        let place = self.place.as_deref().map(Place::parse);
        if let Some(warning) = self.place.as_deref().and_then(url_file::warning) {
            output::note(&format!("warning: {warning}"));
        }
        // A running host has its own variables; the caller may lack them.
        let manifest = self.app.read();
        let state_dir = self.app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
        let manifest = match manifest {
            Err(errors) if !state::exists(&state_dir) => return Err(errors),
            manifest => manifest,
        };
        let mut _log = None;
        let (caller, listed) = match reach(&state_dir).await? {
            Reached::Host(mut host) => {
                let listed = host.list().await?;
                (Caller::host(&state::control_socket(&state_dir)).await?, listed)
            }
            Reached::State(state) => {
                let mut application = fill_in(manifest?, default_url(), state.secrets())?;
                fetch::locate(&mut application, state.path());
                _log = Some(telemetry::start("warn,guest=info,souk::app=error", Format::Text)?);
                let app = by_hand::start_all(application, &state).await?;
                let listed = call::list(&app, true).await;
                (Caller::App(app), listed)
            }
        };
        let exporters: BTreeSet<(String, String)> = listed
            .into_iter()
            .filter(|one| one.interface.starts_with(INTERFACE))
            .map(|one| (one.component, one.interface))
            .collect();
        let mut offers = Vec::new();
        for (component, interface) in exporters {
            let function = format!("{interface}#kinds");
            let none = RawValue::from_string("{}".to_owned())?;
            let kinds: Vec<Kind> = caller.call(0, &component, &function, none).await?;
            for kind in kinds {
                offers.push(Offer { component: component.clone(), interface: interface.clone(), kind });
            }
        }
        let (Some(name), Some(place)) = (self.name, place) else { return Ok(list(&offers)) };
        let known: Vec<String> = offers.iter().map(|offer| offer.kind.name.clone()).collect();
        let Some(offer) = offers.into_iter().find(|offer| offer.kind.name == name) else {
            anyhow::bail!("no component imports `{name}`\n  fix: name one of {}", known.join(", "));
        };
        let place = place?;
        let refusals = self.refusals.unwrap_or_else(|| default_refusals(&name, self.dry_run));
        anyhow::ensure!(
            !place.is_in(&refusals),
            "{} has the rows, and refused ones would replace them\n  fix: name another file, --refusals FILE",
            refusals.display()
        );
        let Offer { component, interface, kind } = offer;
        let run = Run { caller, component, interface, kind, dry_run: self.dry_run, refusals: refusals.clone() };
        let (start, from, has_tables) = (Instant::now(), place.to_string(), place.has_tables());
        let outcome = run.all(place, |so_far| output::note(&format!("  {}", counts(so_far)))).await?;
        let (rows, seconds) = (outcome.rows(), start.elapsed().as_secs_f64());
        let done = if self.dry_run { "would be imported" } else { "imported" };
        output::line(&format!("{name} {done} from {from}: {rows} rows in {seconds:.1} s: {}", counts(&outcome)));
        if rows == 0 {
            // MongoDB takes any name of a database, and has no rows in one that does not exist.
            output::note(&format!("warning: {from} has no {name}\n  fix: look whether this is the right place"));
        }
        if outcome.changed + outcome.refused > 0 {
            output::line(&format!("rows that were refused or changed, with the reason: {}", refusals.display()));
        }
        let is_good = outcome.refused == 0 && (rows > 0 || has_tables);
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The file for refused rows. What a dry run finds does not replace what an import has found.
fn default_refusals(name: &str, dry_run: bool) -> PathBuf {
    format!("{name}-{}.jsonl", if dry_run { "dry-run" } else { "refused" }).into()
}

fn counts(outcome: &Outcome) -> String {
    let Outcome { taken, changed, there, refused } = outcome;
    format!("{taken} imported, {changed} imported with changes, {there} existed already, {refused} refused")
}

fn list(offers: &[Offer]) -> ExitCode {
    if offers.is_empty() {
        output::note("no component of this application imports rows: none exports souk:imports/rows");
    }
    for Offer { component, kind, .. } in offers {
        let systems: Vec<&str> = kind.sources.iter().map(|source| source.system.name()).collect();
        output::line(&format!("{} ({component}): {}", kind.name, kind.about));
        output::line(&format!("  from {}, or a file with JSON objects", systems.join(", ")));
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_leaves_the_refused_rows_of_an_import_alone() {
        assert_eq!(default_refusals("users", false), PathBuf::from("users-refused.jsonl"));
        assert_eq!(default_refusals("users", true), PathBuf::from("users-dry-run.jsonl"));
    }
}
