//! The list of components' versions for an operator.

use super::super::App;
use super::version_folder::Record;
use serde::{Deserialize, Serialize};
use souk_bindings::call::DRAWS;
use souk_runtime::Counts;

/// A version in the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionFacts {
    /// The component.
    pub component: String,
    /// `active`, `canary`, `previous` or `kept`.
    pub state: String,
    /// For a version on trial: how many of 100 calls it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Its record.
    #[serde(flatten)]
    pub record: Record,
    /// The results of its calls, while it is compared with another version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallFacts>,
}

/// The results of a version's calls during a trial.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallFacts {
    /// The calls that have ended.
    pub calls: u64,
    /// The calls that failed.
    pub failed: u64,
    /// The median duration, in microseconds.
    pub median_us: u32,
}

impl App {
    /// The versions of `component`, or of all that run here.
    pub fn versions(&self, component: Option<&str>) -> Vec<VersionFacts> {
        let (books, trials) = (self.deployments.books.all(), self.deployments.trials.lock());
        let mut all = Vec::new();
        for (name, book) in books.iter().filter(|(name, _)| component.is_none_or(|one| one == *name)) {
            let trial = trials.get(name);
            for record in &book.versions {
                let tried = trial.filter(|trial| trial.number == record.number);
                let state = match () {
                    () if tried.is_some() => "canary",
                    () if record.number == book.active => "active",
                    () if Some(record.number) == book.previous => "previous",
                    () => "kept",
                };
                let counts = match (tried, trial) {
                    (Some(trial), _) => Some(trial.version.tally().counts()),
                    (None, Some(_)) if record.number == book.active => {
                        self.pool(name).map(|pool| pool.active().tally().counts())
                    }
                    _ => None,
                };
                all.push(VersionFacts {
                    component: name.clone(),
                    state: state.to_owned(),
                    percent: tried.map(|trial| f64::from(trial.share) * 100.0 / f64::from(DRAWS)),
                    record: record.clone(),
                    calls: counts.map(|counts: Counts| CallFacts {
                        calls: counts.calls,
                        failed: counts.failed(),
                        median_us: counts.median_us,
                    }),
                });
            }
        }
        all
    }
}
