//! A trial on one of several hosts: all of them know of it, so that a whole tree of calls sees one version.
//!
//! The host that tries a version out writes that into the record of what the hosts have agreed on, and waits until all
//! have read it; only then the version gets calls. The draw of a tree decides, on every host: a host that does not run
//! the component, or runs it without that version, sends the calls for that version to the host that has it
//! ([`souk_links::remote`]). A tree that begins at a host with the old version never gets the new one
//! ([`draw_from`]), so that no request is sent on as a whole. If the host that tries it out is gone, the old version
//! answers everything.
//!
//! That write also decides which of two trials at one moment begins: the second is refused before anything of it runs.
//!
//! A host that stops ends its trials, and one that was killed removes them from the record when it is back. Until then,
//! and if it never comes back, the others look for it in vain, which costs the calls for its version one more message.

use super::super::App;
use super::super::intakes::Changed;
use super::DeployError;
use crate::machine;
use souk_bindings::call::draw_from;
use souk_links::cluster::agreement::{Plan, TriedOut};
use souk_links::cluster::intents::Intents;
use souk_links::remote::Trial;
use souk_manifest::Component as Declared;
use souk_runtime::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::block_in_place;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of trials on several hosts.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How long all hosts have to learn of a trial before it begins: twice as long as they need.
    const TRIAL_NOTICE: Duration = Duration::from_secs(2);
    /// How long a host that stops may take to record that it tries out nothing any more.
    const TRIAL_END_TIMEOUT: Duration = Duration::from_secs(2);
}

impl App {
    /// Tells all hosts that this one tries out version `number`, with this share of the draws, before anything of the
    /// version runs here. Returns the moment from which on all of them know; `None` if there are no others.
    ///
    /// If the deployment fails afterwards, the trial is removed from the record like one that has ended.
    ///
    /// # Errors
    /// When a trial at another host excludes it, or the hosts cannot be told; then no trial begins.
    pub(super) async fn announce_trial(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        number: u64,
        share: u16,
    ) -> Result<Option<Instant>, DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(None) };
        let told = self.tell_hosts(intents, declared, pool, number, share).await;
        told.map_err(|why| DeployError::Refused(format!("component `{}`: {why}", declared.name)))?;
        Ok(Some(Instant::now() + TRIAL_NOTICE))
    }

    /// Whether another host tries out a version of `component`.
    pub(super) fn is_tried_out_elsewhere(&self, component: &str) -> Result<bool, DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(false) };
        let agreement = intents.known();
        let Some(trial) = agreement.tried_out(component) else { return Ok(false) };
        let own = block_in_place(|| self.state.id()).map_err(|error| DeployError::Refused(error.to_string()))?;
        Ok(trial.host != own)
    }

    /// Refuses what the known trials at other hosts exclude here, before anything has changed.
    pub(super) fn refuse_beside_other_hosts(&self, declared: &Declared, is_trial: bool) -> Result<(), DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(()) };
        let agreement = intents.known();
        if agreement.is_without_trials() {
            return Ok(());
        }
        let refused = |error: String| DeployError::Refused(format!("component `{}`: {error}", declared.name));
        let host = block_in_place(|| self.state.id()).map_err(|error| refused(error.to_string()))?;
        let (called, here) = (declared.called(), self.components_here());
        let plan = Plan { component: &declared.name, called: &called, is_trial, host: &host, here: &here };
        agreement.refuse_beside_trials(&plan).map_err(|error| refused(error.to_string()))
    }

    /// The same for a version that is to serve at once, with the trials that have begun while it was compiled and
    /// checked.
    pub(super) async fn refuse_beside_new_trials(&self, declared: &Declared) -> Result<(), DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(()) };
        let read = self.read_agreed(intents).await;
        read.map_err(|error| DeployError::Refused(format!("component `{}`: {error}", declared.name)))?;
        self.refuse_beside_other_hosts(declared, false)
    }

    /// The names of the components that run on this host.
    pub(super) fn components_here(&self) -> BTreeSet<String> {
        self.pools().iter().map(|pool| (**pool.component()).to_owned()).collect()
    }

    async fn tell_hosts(
        &self,
        intents: &Intents,
        declared: &Declared,
        pool: &Arc<Pool>,
        number: u64,
        share: u16,
    ) -> Result<(), String> {
        let host = block_in_place(|| self.state.id()).map_err(|error| error.to_string())?;
        let (name, here) = (machine::name(), self.components_here());
        let trial = TriedOut { name, here, ..TriedOut::new(number, share, host) };
        let called = declared.called();
        let (host, here) = (&trial.host, &trial.here);
        let plan = Plan { component: &declared.name, called: &called, is_trial: true, host, here };
        let agreed = intents.begin_trial(&plan, &trial).await.map_err(|error| error.to_string())?;
        self.keep_agreed(intents, &agreed);
        // If this fails, the trial is removed from the record like one that has ended.
        pool.trial_notice().begin_here(&trial.id);
        let changed = Changed { deliveries: false, serving: true, services: false };
        let began = self.begin_intakes(&self.now(), changed, &[]).await;
        let began = began.map_err(|error| format!("calls for the version cannot be taken: {error}"))?;
        self.replace_intakes(began, changed);
        self.apply_trials();
        Ok(())
    }

    /// Lets calls go to the hosts that try out the versions which they are for.
    pub(crate) fn apply_trials(&self) {
        let (Some(intents), Some(remote)) = (&self.deployments.intents, &self.remote) else { return };
        let agreement = intents.known();
        let tried_out: BTreeMap<&str, &TriedOut> = agreement.all_tried_out().collect();
        let trials = tried_out.iter().map(|(component, trial)| {
            ((*component).to_owned(), Trial { id: trial.id.as_str().into(), share: trial.share })
        });
        let trials: BTreeMap<String, Trial> = trials.collect();
        remote.set_trials(&trials);
        let own = match tried_out.is_empty() {
            true => String::new(),
            false => match block_in_place(|| self.state.id()) {
                Ok(own) => own,
                Err(error) => {
                    tracing::debug!("it is unknown which trials are those of this host: {error}");
                    return;
                }
            },
        };
        let mut first = 0;
        for pool in self.pools() {
            let trial = tried_out.get(&**pool.component()).filter(|trial| trial.host != own);
            let share = trial.map_or(0, |trial| trial.share);
            pool.trial_notice().set_elsewhere(share);
            first = first.max(share);
        }
        draw_from(first);
    }

    /// Ends the trials of this host, which stops: it may not come back.
    pub async fn end_trials(&self) {
        let tried_out: Vec<String> = self.deployments.trials.lock().keys().cloned().collect();
        for component in &tried_out {
            self.end_trial(component, None, "the host was stopped while it was tried out");
        }
        if let Some(intents) = self.deployments.intents.as_ref().filter(|_| !tried_out.is_empty()) {
            // If this takes too long, the next start does it.
            let _ = tokio::time::timeout(TRIAL_END_TIMEOUT, self.end_recorded_trials(intents)).await;
        }
    }

    /// Removes the trials of this host that have ended from the record.
    pub(super) async fn end_recorded_trials(&self, intents: &Intents) {
        let agreement = intents.known();
        if agreement.is_without_trials() {
            return;
        }
        let Ok(own) = block_in_place(|| self.state.id()) else { return };
        for (component, number) in agreement.tried_out_by(&own) {
            // A deployment has the turn until its trial has begun.
            let Ok(_turn) = self.deployments.turn.try_lock() else { return };
            let goes_on = self.deployments.trials.lock().get(&component).is_some_and(|trial| trial.number == number);
            if goes_on {
                continue;
            }
            match intents.end_trial(&component, &own, number).await {
                Ok(agreed) => self.keep_agreed(intents, &agreed),
                Err(error) => {
                    tracing::debug!(%component, "the end of a trial cannot be recorded: {error}");
                    return;
                }
            }
        }
    }
}
