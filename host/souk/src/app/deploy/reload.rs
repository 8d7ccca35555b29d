//! A changed manifest, applied to the running application.
//!
//! What the new manifest says is made into a new composition beside the one that serves ([`compose`]): components that
//! are new are compiled, checked and given one instance, exactly as a deployment does it; components whose grants, links
//! or limits have changed are linked again with the code that serves, as a version of its own for a moment. Then all of
//! it is exchanged at once. Calls in progress end on what they began with. Nothing is applied if any part is wrong.
//!
//! A few keys are wired when the process starts; [`mod@merge`] lists them, and they keep their old values until the next
//! start.

mod compose;
mod limits;
mod merge;

use super::super::App;
use super::super::composition::Composition;
use super::super::intakes::IntakeError;
use super::error::{DeployError, after};
use super::serve::drained;
use compose::Composed;
use merge::{Merged, merge};
use serde::{Deserialize, Serialize};
use souk_links::remote::{self, Presence};
use souk_manifest::{Application, Diagnostic, ManifestErrors};
use souk_runtime::Pool;
use std::sync::Arc;

/// The result of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What was applied, one line each.
    pub applied: Vec<String>,
    /// What has changed but was not applied, one line each.
    pub left: Vec<String>,
}

impl App {
    /// Applies the changes in `new`, the current manifest.
    ///
    /// # Errors
    /// When something in it is wrong; then nothing has changed.
    pub async fn reload(self: &Arc<Self>, new: &Application) -> Result<Reloaded, DeployError> {
        let _turn = self.deployments.turn.lock().await;
        let now = self.now();
        let mut merged = merge(&now.application, new);
        merged.fit_into(&now.application, self.engine.capacity())?;
        let left = std::mem::take(&mut merged.left);
        if merged.is_same() {
            let silent = Composition { application: Arc::new(merged.application), ..(*now).clone() };
            *self.composed.write() = Arc::new(silent);
            return Ok(Reloaded { applied: Vec::new(), left });
        }
        now.shared.hide_secrets([&now.application, &merged.application]);
        let mut composed = self.compose(&now, merged).await?;
        let migrated: Vec<String> =
            std::mem::take(&mut composed.migrated).iter().map(|name| format!("`{name}`")).collect();
        let applied = self.exchange(composed).await.map_err(|error| match migrated.as_slice() {
            [] => error,
            ran => after(error, &format!("the migrations of {} have run, and stay", ran.join(", "))),
        })?;
        Ok(Reloaded { applied, left })
    }

    /// Lets `composed` serve instead of the current composition. Everything that can fail has been done, except for
    /// recording and what needs a server.
    async fn exchange(self: &Arc<Self>, composed: Composed) -> Result<Vec<String>, DeployError> {
        let Composed {
            composition,
            versions,
            added,
            removed,
            chosen,
            changed,
            channels,
            expected,
            places,
            applied,
            migrated: _,
        } = composed;
        let failed = |error: String| DeployError::Refused(format!("nothing was applied: {error}"));
        let (now, application) = (self.now(), composition.application.clone());
        let presence = match &self.remote {
            Some(remote) if !added.is_empty() || !removed.is_empty() => {
                Some(Presence::start(remote.nats(), &application).await.map_err(|error| failed(error.to_string()))?)
            }
            _ => None,
        };
        let began = self.begin_intakes(&composition, changed, &channels).await;
        let began = began.map_err(|error| match error {
            IntakeError::Mistakes(errors) => DeployError::Manifest { errors },
            error => failed(error.to_string()),
        })?;
        tokio::task::block_in_place(|| self.keep_chosen(chosen, &composition.pools))?;
        if let Some(queue) = &composition.queue {
            queue.set_components(application.components.keys().cloned().collect());
        }
        for name in &added {
            let Some(pool) = composition.pools.get(name) else { continue };
            self.engine.sample(&pool.grants().usage);
            if let Some(on_pool) = self.on_pool.get() {
                on_pool(pool);
            }
        }
        let ended = now.channels.iter().filter(|old| !composition.channels.iter().any(|new| new.is_same(old)));
        ended.for_each(|channel| channel.end());
        *self.composed.write() = Arc::new(composition);
        // For the components that are added.
        self.apply_trials();
        for (name, pool, version) in versions {
            drained(name, pool.promote(version));
        }
        self.replace_intakes(began, changed);
        if presence.is_some() {
            *self.presence.lock() = presence;
        }
        self.places.lock().extend(places);
        for name in removed {
            self.deployments.books.forget(&name);
            if let Some(pool) = now.pools.get(&name) {
                self.let_go(&name, pool);
            }
        }
        // Components that only `souk call` has loaded are loaded again as the manifest has them now.
        *self.late.lock().await = Default::default();
        if let Some(remote) = &self.remote {
            tokio::spawn(remote::compare(remote.nats().clone(), expected));
        }
        Ok(applied)
    }

    /// Frees the instances of a component that is gone, once its calls have ended.
    fn let_go(&self, name: &str, pool: &Arc<Pool>) {
        self.engine.forget(&pool.grants().usage);
        drained(name.to_owned(), pool.close());
    }
}

impl Merged {
    /// Keeps what the engine has no capacity for as it is in `old`, and refuses components that do not fit.
    fn fit_into(&mut self, old: &Application, capacity: u64) -> Result<(), DeployError> {
        let Some(total) = merge::fit(self, old, capacity) else { return Ok(()) };
        let mistake = Diagnostic {
            file: self.application.manifest.clone(),
            line: None,
            component: None,
            message: format!(
                "all components together may have {total} instances, and the host was started with room for {capacity}"
            ),
            fix: "lower the limit `instances` of components, or start the host again".to_owned(),
        };
        Err(DeployError::Manifest { errors: ManifestErrors(vec![mistake]) })
    }
}
