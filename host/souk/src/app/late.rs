//! Components that no trigger or link leads to: the start does not load them; `souk call` loads them.

use super::App;
use super::compile::compile;
use super::error::StartError;
use super::migrations;
use super::sweeper::swept;
use super::wiring::Wiring;
use souk_links::remote::Remote;
use souk_manifest::ManifestErrors;
use souk_runtime::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

impl App {
    /// The instances of `component`, if it is loaded already.
    pub fn pool_if_loaded(&self, component: &str) -> Option<Arc<Pool>> {
        self.pool(component).or_else(|| self.late.try_lock().ok()?.pools.get(component).cloned())
    }

    /// The instances of `component`, which this loads if necessary; `None` when it does not run here.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn pool_by_hand(&self, component: &str) -> Result<Option<Arc<Pool>>, StartError> {
        if let Some(pool) = self.pool(component) {
            return Ok(Some(pool));
        }
        if !self.application().runs_here(component) {
            return Ok(None);
        }
        // Held during the load: two calls must not load one component twice.
        let mut late = self.late.lock().await;
        if let Some(pool) = late.pools.get(component) {
            return Ok(Some(pool.clone()));
        }
        let now = self.now();
        if let Some(pool) = now.pools.get(component) {
            return Ok(Some(pool.clone()));
        }
        let known: BTreeMap<_, _> = now.pools.iter().chain(&late.pools).map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut names: BTreeSet<String> = now.application.led_to([component].into_iter());
        names.retain(|name| !known.contains_key(name));
        let part = now.application.restricted_to(&names);
        let (codes, mut mistakes) = compile(&self.engine, &part, &BTreeMap::new(), &|_| {}).await?;
        let mut shared = now.shared.clone();
        mistakes.extend(shared.open(&part, &self.state, self.remote.as_ref().map(Remote::nats)).await);
        let mut wiring = Wiring::new(self.surroundings(&now.application, &shared, now.queue.as_ref()), codes);
        wiring.pools = known;
        wiring.mistakes = mistakes;
        let loaded = wiring.pool(component);
        ManifestErrors::check(wiring.mistakes)?;
        migrations::run(&part, shared.databases()).await?;
        let new: BTreeMap<_, _> = wiring.pools.into_iter().filter(|(name, _)| names.contains(name)).collect();
        // Pools that existed before are sampled already.
        new.values().for_each(|pool| self.engine.sample(&pool.grants().usage));
        let swept_pools: Vec<Arc<Pool>> = new.values().cloned().collect();
        late.sweepers.push(AbortOnDropHandle::new(tokio::spawn(swept(move || swept_pools.clone()))));
        late.pools.extend(new);
        Ok(loaded)
    }
}
