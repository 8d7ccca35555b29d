//! A trial on one of several hosts: all of them know of it, so that a whole tree of calls sees one version.
//!
//! The host that tries a version out writes that into the record of what the hosts have agreed on, and waits until all
//! have read it; only then the version gets calls. The draw of a tree decides, on every host: a host that does not run
//! the component, or runs it without that version, sends the calls for that version to the host that has it
//! ([`souk_links::remote`]). A tree that begins at a host with the old version never gets the new one
//! ([`draw_from`]), so that no request is sent on as a whole. If the host that tries it out is gone, the old version
//! answers everything.
//!
//! A host that was killed during a trial removes it from the record when it is back. Until then, and if it never comes
//! back, the others look for it in vain, which costs the calls for its version one more message.

use super::super::App;
use super::super::intakes::Changed;
use super::{DeployError, after_migrations};
use souk_bindings::call::draw_from;
use souk_links::cluster::intents::{IntentError, Intents, TriedOut};
use souk_links::remote::Trial;
use souk_manifest::Component as Declared;
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::block_in_place;

souk_manifest::fixed_limits! {
    /// The fixed limits of trials on several hosts.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How long all hosts have to learn of a trial before it begins: twice as long as they need.
    const TRIAL_NOTICE: Duration = Duration::from_secs(2);
}

impl App {
    /// Makes sure that all hosts know that this one tries out version `number`, with this share of the draws.
    ///
    /// # Errors
    /// When another host tries one out, or the hosts cannot be told; then no trial begins.
    pub(super) async fn announce_trial(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        (number, share): (u64, u16),
        migrations: &[String],
    ) -> Result<(), DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(()) };
        let component = &declared.name;
        let told = self.tell_hosts(intents, component, pool, number, share).await;
        if let Err(why) = told {
            let error = DeployError::Refused(format!("component `{component}`: {why}"));
            block_in_place(|| self.deployments.books.note(component, number, &error.to_string()));
            return Err(after_migrations(error, migrations));
        }
        tokio::time::sleep(TRIAL_NOTICE).await;
        Ok(())
    }

    /// The versions that other hosts try out, by component.
    pub(super) fn tried_out_elsewhere(&self) -> Result<BTreeMap<String, u64>, DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(BTreeMap::new()) };
        let agreement = intents.known();
        if agreement.is_without_trials() {
            return Ok(BTreeMap::new());
        }
        let own = block_in_place(|| self.state.id()).map_err(|error| DeployError::Refused(error.to_string()))?;
        let others = agreement.all_tried_out().filter(|(_, trial)| trial.host != own);
        Ok(others.map(|(component, trial)| (component.to_owned(), trial.number)).collect())
    }

    /// Refuses what a trial at another host excludes here, before anything has changed: a second trial of the same
    /// component, and a version of one of its callers, which is checked only against the versions that serve. Also a trial
    /// of another component, if this host has the one on trial too: requests that begin here draw no number below the
    /// share of the first trial, so the second might get no calls, and never end.
    pub(super) fn refuse_beside_other_hosts(&self, declared: &Declared, canary: bool) -> Result<(), DeployError> {
        let (component, trials) = (&declared.name, self.tried_out_elsewhere()?);
        if let Some(number) = trials.get(component).copied().filter(|_| canary) {
            let why = IntentError::OnTrial { number };
            return Err(DeployError::Refused(format!("component `{component}`: {why}")));
        }
        if canary && let Some((other, number)) = trials.iter().find(|(other, _)| self.pool(other).is_some()) {
            return Err(DeployError::Refused(format!(
                "component `{component}`: version {number} of `{other}`, which runs here too, is being tried out at another \
                 host, and this trial would get few or none of the requests that begin here\n  fix: wait for its end, or \
                 `souk rollback {other}` it there; `souk deploy {other}` without `--canary` ends it too"
            )));
        }
        let mut called = declared.dependencies.iter().map(|dependency| &dependency.component);
        let Some((called, number)) = called.find_map(|called| trials.get_key_value(called)) else { return Ok(()) };
        Err(DeployError::Refused(format!(
            "component `{component}`: version {number} of `{called}`, which it calls, is being tried out at another \
             host\n  fix: wait for its end, or `souk rollback {called}` it there; `souk deploy {called}` without \
             `--canary` ends it too"
        )))
    }

    async fn tell_hosts(
        &self,
        intents: &Intents,
        component: &str,
        pool: &Arc<Pool>,
        number: u64,
        share: u16,
    ) -> Result<(), String> {
        let host = block_in_place(|| self.state.id()).map_err(|error| error.to_string())?;
        let trial = TriedOut::new(number, share, host);
        let agreed = intents.begin_trial(component, &trial).await.map_err(|error| error.to_string())?;
        self.keep_agreed(&agreed);
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
                Ok(agreed) => self.keep_agreed(&agreed),
                Err(error) => {
                    tracing::debug!(%component, "the end of a trial cannot be recorded: {error}");
                    return;
                }
            }
        }
    }
}
