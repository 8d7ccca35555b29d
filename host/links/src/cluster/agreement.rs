//! What the hosts of an application have agreed on: the version of each component that all must run ([`Intent`]), and
//! the versions that single hosts try out ([`TriedOut`]).
//!
//! A trial excludes others ([`Agreement::refuse_beside_trials`]). The rule is here, because it must hold for the record
//! that is replaced: what a host has read before may have changed since.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of what hosts have agreed on.
    pub(crate) const FIXED_LIMITS = "cluster";

    /// The most files that an intent lists as not newer than its own.
    const MAX_KNOWN_FILES: usize = 16, "files";
}

/// The version of a component that all hosts must run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The version's number, which only rises.
    pub number: u64,
    /// The SHA-256 of its file, in hexadecimal.
    pub digest: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// When it was deployed (RFC 3339).
    pub at: String,
    /// The user who has deployed it, and the host.
    pub by: String,
    /// Digests of files that are not newer: a host whose manifest names one of these files runs this version.
    pub known: Vec<String>,
    /// The digest of the previous version, whose file is kept too.
    pub previous: Option<String>,
}

impl Intent {
    /// Makes this the intent that follows `before`; `known` are digests of older files.
    pub fn follows(mut self, before: Option<&Intent>, known: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = before.map(|before| before.known.clone()).unwrap_or_default();
        all.extend(known);
        all.push(self.digest.clone());
        for digest in all.into_iter().rev() {
            if !digest.is_empty() && !self.known.contains(&digest) && self.known.len() < MAX_KNOWN_FILES {
                self.known.push(digest);
            }
        }
        // The oldest first.
        self.known.reverse();
        self.previous = before.map(|before| before.digest.clone()).filter(|digest| *digest != self.digest);
        self
    }
}

/// A version of a component that one host tries out: all others send the calls for it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedOut {
    /// The id of the trial, for the subject of its calls: two hosts may give versions the same number.
    pub id: String,
    /// The version's number.
    pub number: u64,
    /// How many of [`DRAWS`](souk_bindings::call::DRAWS) draws go to it.
    pub share: u16,
    /// The id of the host's state folder.
    pub host: String,
    /// The name of the host's machine, for people; releases that do not know it leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The components that run on the host; releases that do not know them leave them out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub here: BTreeSet<String>,
}

impl TriedOut {
    /// A new trial of version `number` at `host`, with this share of the draws.
    pub fn new(number: u64, share: u16, host: String) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        TriedOut { id, number, share, host, name: String::new(), here: BTreeSet::new() }
    }

    /// Its host, as another host names it.
    fn place(&self) -> String {
        match self.name.as_str() {
            "" => "another host".to_owned(),
            name => format!("another host ({name})"),
        }
    }
}

/// What a host is about to deploy.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The component.
    pub component: &'a str,
    /// The components that it calls.
    pub called: &'a BTreeSet<String>,
    /// Whether the version is tried out first.
    pub is_trial: bool,
    /// The id of the host's state folder.
    pub host: &'a str,
    /// The components that run on the host.
    pub here: &'a BTreeSet<String>,
}

/// A trial at another host, and why it excludes what this host is about to deploy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "version {number} of `{component}`{which} is being tried out at {place}{why}\n  fix: wait for its end, or `souk \
     rollback {component}` there; `souk deploy {component}` without `--canary` ends it too"
)]
pub struct TrialElsewhere {
    /// The component that has the version.
    pub component: String,
    /// The version's number.
    pub number: u64,
    place: String,
    which: &'static str,
    why: &'static str,
}

/// All intents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    pub(super) form: u32,
    pub(super) application: String,
    /// Only rises.
    pub(super) number: u64,
    /// The revision of the record that it replaces.
    pub(super) replaces: u64,
    /// The intents by component.
    pub intents: BTreeMap<String, Intent>,
    /// The last version of each component that a host tried out; releases that do not know it leave it out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) trials: BTreeMap<String, TriedOut>,
}

impl Agreement {
    /// The version of `component` that a host tries out. A deployment to all hosts ends its trial
    /// ([`write`](super::intents::Intents::write)), also when its host is gone and could not say so, or records the
    /// trial only afterwards.
    pub fn tried_out(&self, component: &str) -> Option<&TriedOut> {
        let deployed = self.intents.get(component).map_or(0, |intent| intent.number);
        self.trials.get(component).filter(|trial| trial.number > deployed)
    }

    /// All versions that hosts try out, by component.
    pub fn all_tried_out(&self) -> impl Iterator<Item = (&str, &TriedOut)> {
        self.trials.keys().filter_map(move |component| Some((component.as_str(), self.tried_out(component)?)))
    }

    /// Refuses what a trial at another host excludes: a second trial of the component; a version of one of its callers,
    /// which is checked only against the versions that serve; and a trial of another component, if one of the two hosts
    /// has both. Requests that begin at such a host draw no number below the share of the trial elsewhere, so the trial
    /// at this host might get no calls, and never end.
    ///
    /// # Errors
    /// The first such trial.
    pub fn refuse_beside_trials(&self, plan: &Plan<'_>) -> Result<(), TrialElsewhere> {
        for (component, trial) in self.all_tried_out().filter(|(_, trial)| trial.host != plan.host) {
            let (which, why) = if plan.is_trial && component == plan.component {
                ("", "")
            } else if plan.is_trial && plan.here.contains(component) {
                (", which runs here too,", ", and this trial would get few of the requests that begin here")
            } else if plan.is_trial && trial.here.contains(plan.component) {
                ("", ", where this component runs too, and would get few of the requests that begin there")
            } else if plan.called.contains(component) {
                (", which it calls,", "")
            } else {
                continue;
            };
            let (component, number) = (component.to_owned(), trial.number);
            return Err(TrialElsewhere { component, number, place: trial.place(), which, why });
        }
        Ok(())
    }

    /// Whether no trial is recorded.
    pub fn is_without_trials(&self) -> bool {
        self.trials.is_empty()
    }

    /// The components of which `host` is recorded to try out a version, and the version's number.
    pub fn tried_out_by(&self, host: &str) -> Vec<(String, u64)> {
        let own = self.trials.iter().filter(|(_, trial)| trial.host == host);
        own.map(|(component, trial)| (component.clone(), trial.number)).collect()
    }

    /// The digests of all files that it needs.
    pub(super) fn needed(&self) -> BTreeSet<String> {
        self.intents
            .values()
            .flat_map(|intent| [Some(intent.digest.clone()), intent.previous.clone()])
            .flatten()
            .collect()
    }
}
