//! A version on trial: its share of the calls, and the task that judges it until it serves or is removed.

use super::super::App;
use super::error::{DeployError, on_one_line};
use super::judge::{Terms, Verdict, judge};
use super::order::Deployed;
use super::serve::drained;
use souk_manifest::Component as Declared;
use souk_runtime::{Pool, Version};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of trials.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// The shortest interval between two judgements of a version on trial.
    const JUDGE_INTERVAL: Duration = Duration::from_millis(10);
    /// How often it is judged while no calls end.
    const IDLE_JUDGE_INTERVAL: Duration = Duration::from_millis(100);
}

/// A version on trial.
pub(super) struct Trial {
    pub(super) version: Arc<Version>,
    pub(super) number: u64,
    pub(super) share: u16,
    /// The digest of the file at `source` when it was deployed: one that is newer is another version.
    source: String,
    _judge: AbortOnDropHandle<()>,
}

impl App {
    /// Lets the version on trial serve all calls now.
    ///
    /// # Errors
    /// When no version is on trial.
    pub async fn promote(self: &Arc<Self>, component: &str, by: &str) -> Result<Deployed, DeployError> {
        let _turn = self.deployments.turn.lock().await;
        let (declared, pool) = &self.here(component)?;
        let Some(trial) = self.take_trial(component, None) else {
            let message = format!(
                "component `{component}`: no version is on trial\n  fix: `souk deploy {component} --canary 5%`"
            );
            return Err(DeployError::Refused(message));
        };
        let (version, number) = (trial.version.clone(), trial.number);
        if let Err(error) = self.let_serve(declared, pool, version, number, &trial.source, None).await {
            self.end_unserved(component, trial, &error);
            return Err(error);
        }
        tracing::info!(component, "version {number} of component `{component}` was promoted by {by}");
        let message = format!("version {number} serves all calls");
        Ok(Deployed { component: component.to_owned(), version: number, message })
    }

    pub(super) fn begin_trial(
        self: &Arc<Self>,
        declared: &Declared,
        pool: &Arc<Pool>,
        version: Arc<Version>,
        number: u64,
        source: String,
        terms: Terms,
    ) {
        let mut trials = self.deployments.trials.lock();
        pool.try_out(version.clone(), terms.share);
        // A weak reference, because the application holds the task.
        let (app, component, tried) = (Arc::downgrade(self), declared.name.clone(), version.clone());
        let judge = tokio::spawn(watch(app, component, tried, number, source.clone(), terms));
        let trial = Trial { version, number, share: terms.share, source, _judge: AbortOnDropHandle::new(judge) };
        trials.insert(declared.name.clone(), trial);
    }

    /// Refuses a version of `declared` while one of the components that it calls has a version on trial: it is checked only
    /// against those that serve.
    pub(super) fn refuse_beside_trials(&self, declared: &Declared) -> Result<(), DeployError> {
        let trials = self.deployments.trials.lock();
        let mut called = declared.dependencies.iter().map(|dependency| &dependency.component);
        let Some((called, trial)) = called.find_map(|called| trials.get_key_value(called)) else { return Ok(()) };
        Err(DeployError::Refused(format!(
            "component `{}`: version {} of `{called}`, which it calls, is being tried out\n  fix: wait for its end, `souk \
             rollback {called}` it, or let it serve with `souk deploy {called} --promote-anyway`",
            declared.name, trial.number
        )))
    }

    /// Takes the trial of a component, of version `number` if it is given. The task that has it decides how it ends: it is
    /// promoted or withdrawn, never both.
    fn take_trial(&self, component: &str, number: Option<u64>) -> Option<Trial> {
        let mut trials = self.deployments.trials.lock();
        trials.get(component).filter(|trial| number.is_none_or(|number| trial.number == number))?;
        trials.remove(component)
    }

    /// Ends a trial that was taken to let its version serve, which `error` prevented.
    fn end_unserved(&self, component: &str, trial: Trial, error: &DeployError) {
        let number = trial.number;
        self.deployments.trials.lock().insert(component.to_owned(), trial);
        self.end_trial(component, Some(number), &format!("it could not serve all calls: {}", on_one_line(error)));
    }

    /// Withdraws the version on trial, or only version `number`, and records why. Returns its number; `None` if it is
    /// not on trial (any more).
    pub(super) fn end_trial(&self, component: &str, number: Option<u64>, why: &str) -> Option<u64> {
        let trial = {
            // Under one lock, so that no other trial begins before this one's version is withdrawn.
            let mut trials = self.deployments.trials.lock();
            trials.get(component).filter(|trial| number.is_none_or(|number| trial.number == number))?;
            if let Some(version) = self.pool(component).and_then(|pool| pool.withdraw()) {
                drained(component.to_owned(), version);
            }
            trials.remove(component)?
        };
        block_in_place(|| self.deployments.books.withdraw(component, trial.number, &trial.source, why));
        tracing::warn!(component, "version {} of component `{component}` gets no more calls: {why}", trial.number);
        Some(trial.number)
    }
}

/// Judges a version until it serves or is removed.
async fn watch(app: Weak<App>, component: String, version: Arc<Version>, number: u64, source: String, terms: Terms) {
    let (start, mut warned) = (Instant::now(), false);
    loop {
        let _ = tokio::time::timeout(IDLE_JUDGE_INTERVAL, version.tally().changed()).await;
        let Some(app) = app.upgrade() else { return };
        let Some(pool) = app.pool(&component) else { return };
        let (old, new) = (pool.active().tally().counts(), version.tally().counts());
        match judge(&terms, start.elapsed(), &old, &new) {
            Verdict::Wait => {}
            Verdict::TooFew => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(
                        %component,
                        "version {number} of component `{component}` has had {} calls, and the version that serves {}, \
                         too few to judge it: the trial goes on; `souk deploy {component} --promote-anyway` lets it serve",
                        new.calls, old.calls
                    );
                }
            }
            Verdict::RollBack(why) => {
                app.end_trial(&component, Some(number), &why);
                return;
            }
            Verdict::Promote => {
                // While another deployment takes its time, this version is judged on.
                let Ok(_turn) = app.deployments.turn.try_lock() else {
                    tokio::time::sleep(JUDGE_INTERVAL).await;
                    continue;
                };
                let Ok((declared, pool)) = &app.here(&component) else { return };
                // From now on a rollback goes back from this version, and does not end its trial. The trial owns this
                // task, so it must not be dropped before the end.
                let Some(trial) = app.take_trial(&component, Some(number)) else { return };
                if let Err(error) = app.let_serve(declared, pool, version, number, &source, None).await {
                    tracing::error!(%component, "{error}");
                    app.end_unserved(&component, trial, &error);
                    return;
                }
                // Only now is it true.
                tracing::info!(
                    %component,
                    "version {number} of component `{component}` serves all calls: {} calls, {} failed, half took {} us or more \
                     (before: {} calls, {} failed, {} us)",
                    new.calls, new.failed(), new.median_us, old.calls, old.failed(), old.median_us
                );
                return;
            }
        }
        drop(app);
        tokio::time::sleep(JUDGE_INTERVAL).await;
    }
}
