//! Makes a composition of a changed manifest, beside the one that serves. It opens what is new, compiles and links what
//! is new or changed, and rehearses migrations; all mistakes are reported together. Then it creates instances, and runs
//! migrations last, when nothing else is wrong.

use super::super::super::App;
use super::super::super::compile::{compile, not_started};
use super::super::super::composition::Composition;
use super::super::super::grants::Shared;
use super::super::super::intakes::Changed;
use super::super::super::migrations::MigrateError;
use super::super::super::routes::{Routing, check_routes};
use super::super::super::wiring::Wiring;
use super::super::super::{handler, migrations, nest, queue, redis, remote_parts, schedules, start};
use super::super::at_start;
use super::super::chosen::{self, ChosenVersion};
use super::super::error::{DeployError, stopped};
use super::super::messages;
use super::limits;
use super::merge::{Merged, text};
use crate::moving::{self, PlaceError};
use souk_bindings::Grants;
use souk_links::durable::{self, Queue};
use souk_links::redis::Channel;
use souk_links::remote::{ExpectedType, Remote};
use souk_manifest::{Application, Diagnostic, ManifestErrors};
use souk_runtime::{Compiled, Exported, Pool, Version, VersionConfig, background};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Component;

/// A composition that is ready to serve, and what the exchange needs.
pub(super) struct Composed {
    pub(super) composition: Composition,
    /// The versions of components that were linked again.
    pub(super) versions: Vec<(String, Arc<Pool>, Arc<Version>)>,
    pub(super) added: BTreeSet<String>,
    pub(super) removed: BTreeSet<String>,
    /// The versions of the components that are added.
    pub(super) chosen: BTreeMap<String, ChosenVersion>,
    /// What else calls components, and must begin again.
    pub(super) changed: Changed,
    /// The Redis channels that are new.
    pub(super) channels: Vec<Channel>,
    pub(super) expected: Vec<ExpectedType>,
    /// Records when new places of data get their first rows.
    pub(super) places: Option<AbortOnDropHandle<()>>,
    /// The components of which migrations have run.
    pub(super) migrated: Vec<String>,
    /// What is applied, one line each.
    pub(super) applied: Vec<String>,
}

/// What is linked in the background.
struct Wired {
    pools: BTreeMap<String, Arc<Pool>>,
    codes: BTreeMap<String, Component>,
    /// The components that are linked again.
    again: Vec<(String, Compiled, Grants)>,
    expected: Vec<ExpectedType>,
    mistakes: Vec<Diagnostic>,
}

/// What wiring needs besides the manifest.
struct Parts {
    shared: Shared,
    queue: Option<Queue>,
    pools: BTreeMap<String, Arc<Pool>>,
    codes: BTreeMap<String, Component>,
    chosen: BTreeMap<String, ChosenVersion>,
    files: BTreeMap<String, PathBuf>,
    added: BTreeSet<String>,
    relinked: BTreeSet<String>,
}

fn failed(error: impl std::fmt::Display) -> DeployError {
    DeployError::Refused(format!("nothing was applied: {error}"))
}

impl App {
    /// Makes the composition of `merged`. On an error nothing has changed, except that migrations may have run.
    pub(super) async fn compose(
        self: &Arc<Self>,
        now: &Arc<Composition>,
        merged: Merged,
    ) -> Result<Composed, DeployError> {
        let application = Arc::new(merged.application.clone());
        ManifestErrors::check(remote_parts::check(&application)).map_err(wrong)?;
        let part = application.restricted_to(&application.reachable());
        let added: BTreeSet<String> =
            part.here().map(|component| component.name.clone()).filter(|name| !now.pools.contains_key(name)).collect();
        let removed: BTreeSet<String> = now.pools.keys().filter(|name| !part.runs_here(name)).cloned().collect();
        self.refuse_during_trial(&application, &merged, &added, &removed)?;

        let only = application.restricted_to(&added);
        let (chosen, codes, mut mistakes) = self.load(&only).await?;
        let mut shared = now.shared.clone();
        tokio::task::block_in_place(|| shared.record_now(&part, &self.state)).map_err(failed)?;
        mistakes.extend(self.open_granted(&mut shared, &part));
        let pools: BTreeMap<_, _> = now
            .pools
            .iter()
            .filter(|(name, _)| !removed.contains(*name))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let active = pools.iter().map(|(name, pool)| (name.clone(), pool.active().compiled().code.clone()));
        let codes: BTreeMap<String, Component> = active.chain(codes).collect();
        let queue = self.queue_for(now, &application, &codes).await?;
        let parts = Parts {
            shared: shared.clone(),
            queue: queue.clone(),
            pools,
            codes,
            files: chosen.iter().map(|(component, one)| (component.clone(), one.path.clone())).collect(),
            chosen: chosen.clone(),
            added: added.clone(),
            relinked: merged.relinked.clone(),
        };
        let (app, of) = (self.clone(), application.clone());
        let wired = background(move || app.wire(&of, parts)).await.ok_or_else(|| stopped(&application.name))?;
        mistakes.extend(wired.mistakes);

        let engine = self.engine.wasmtime();
        mistakes.extend(check_routes(engine, &application, &application.routes, &wired.codes));
        let handlers = handler::all(&application, &wired.pools, self.remote.as_ref());
        let mut channels = redis::channels(&application, &wired.pools, &mut mistakes);
        let schedules = schedules::all(&application, &wired.pools, &mut mistakes);
        let nats = self.remote.as_ref().map(Remote::nats);
        let services = nest::services(&application, &wired.pools, queue.as_ref(), nats, &mut mistakes);
        let loaded = (&chosen, self.deployments.books.folder());
        let refused = messages::refused_by_changed(queue.as_ref(), &self.engine, &application, loaded, &wired.pools);
        mistakes.extend(refused.await.into_values().flatten());
        let migrated = added.union(&merged.migrated).filter(|name| part.runs_here(name)).cloned().collect();
        let migrated = application.restricted_to(&migrated);
        mistakes.extend(migrations::check(&migrated, shared.databases()).await);
        ManifestErrors::check(mistakes).map_err(wrong)?;

        // A channel that stays goes on as it is.
        let is_old = |channel: &Channel| now.channels.iter().find(|old| old.is_same(channel)).cloned();
        let new_channels: Vec<Channel> = channels.iter().filter(|channel| is_old(channel).is_none()).cloned().collect();
        channels.iter_mut().for_each(|channel| *channel = is_old(channel).unwrap_or_else(|| channel.clone()));
        let changed = changed(now, &application, &added, &removed, now.queue.is_none() && queue.is_some());
        let boundaries = shared.boundaries();
        let composition = Composition {
            routing: Arc::new(Routing::of(&application, &handlers, boundaries)),
            pools: wired.pools,
            handlers,
            queue,
            schedules,
            services: if changed.services { Arc::new(services) } else { now.services.clone() },
            channels,
            shared,
            application: application.clone(),
        };
        let versions = self.make_instances(&composition, wired.again, &added).await?;
        // After everything that may be wrong, because it records the places for all hosts; before data is changed.
        let places = self.check_places(&composition, &added, &merged).await?;
        let ran = migrations::run(&migrated, composition.shared.databases()).await.map_err(not_migrated)?;
        let applied = lines(&merged, &added, &removed);
        let expected = wired.expected;
        Ok(Composed {
            composition,
            versions,
            added,
            removed,
            chosen,
            changed,
            channels: new_channels,
            expected,
            places,
            migrated: ran.into_iter().map(|(component, _)| component).collect(),
            applied,
        })
    }

    /// Refuses changes of components, and of callers of components, of which a version is being tried out.
    fn refuse_during_trial(
        &self,
        application: &Application,
        merged: &Merged,
        added: &BTreeSet<String>,
        removed: &BTreeSet<String>,
    ) -> Result<(), DeployError> {
        let linked = added.iter().chain(&merged.relinked);
        let called = linked
            .clone()
            .filter_map(|name| application.components.get(name))
            .flat_map(|component| component.dependencies.iter().map(|dependency| &dependency.component));
        let trials = self.deployments.trials.lock();
        match linked.chain(removed).chain(called).find(|name| trials.contains_key(*name)) {
            Some(name) => Err(failed(format_args!(
                "a new version of component `{name}` is being tried out\n  fix: wait for its end, or `souk rollback {name}`"
            ))),
            None => Ok(()),
        }
    }

    /// The versions and the code of the components of `only`, which are added.
    async fn load(
        &self,
        only: &Application,
    ) -> Result<(BTreeMap<String, ChosenVersion>, BTreeMap<String, Component>, Vec<Diagnostic>), DeployError> {
        let kept = self.deployments.books.folder();
        let agreed = match &self.deployments.intents {
            Some(intents) => at_start::files(intents, only, kept).await.map_err(failed)?,
            None => BTreeMap::new(),
        };
        let (chosen, mut mistakes) = tokio::task::block_in_place(|| chosen::choose(only, kept, &agreed));
        let (codes, wrong) = compile(&self.engine, only, &chosen, &|_| {}).await.map_err(failed)?;
        mistakes.extend(wrong);
        Ok((chosen, codes, mistakes))
    }

    /// Opens what components are granted and what is not open yet.
    fn open_granted(&self, shared: &mut Shared, part: &Application) -> Vec<Diagnostic> {
        let nats = self.remote.as_ref().map(Remote::nats);
        let open = shared.open(part, &self.state, nats);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open))
    }

    /// The queue of durable messages: the open one, or a new one when something needs it now.
    async fn queue_for(
        &self,
        now: &Composition,
        application: &Application,
        codes: &BTreeMap<String, Component>,
    ) -> Result<Option<Queue>, DeployError> {
        if now.queue.is_some() {
            return Ok(now.queue.clone());
        }
        let engine = self.engine.wasmtime();
        let events = nest::has_events(engine, application, codes);
        let receives = codes.values().any(|code| durable::receives(&Exported::of(engine, code)));
        let nats = self.remote.as_ref().map(Remote::nats);
        queue::open(application, &self.state, nats, events, receives).await.map_err(failed)
    }

    /// Links the components that are added, and those that are linked again. It takes milliseconds of a processor.
    fn wire(&self, application: &Application, parts: Parts) -> Wired {
        let Parts { shared, queue, pools, codes, chosen, files, added, relinked } = parts;
        let mut wiring = Wiring::new(self.surroundings(application, &shared, queue.as_ref()), codes);
        wiring.ids = chosen.iter().map(|(component, one)| (component.clone(), one.id.clone())).collect();
        wiring.files = files;
        wiring.pools = pools;
        for name in &added {
            wiring.pool(name);
        }
        let mut again = Vec::new();
        for name in relinked {
            let (Some(pool), Some(declared)) = (wiring.pools.get(&name).cloned(), application.components.get(&name))
            else {
                continue;
            };
            let Some(mut compiled) = wiring.linked(&name) else { continue };
            let active = pool.active();
            compiled.symbols.clone_from(&active.compiled().symbols);
            match shared.grant(declared, application, &self.state) {
                // What is counted of the component goes on.
                Ok(grants) => again.push((name, compiled, Grants { usage: active.grants().usage.clone(), ..grants })),
                Err(mistake) => wiring.mistakes.push(mistake),
            }
        }
        let Wiring { pools, codes, expected, mistakes, .. } = wiring;
        Wired { pools, codes, again, expected, mistakes }
    }

    /// Compares the places of data of what is added or changed with what this host and the others know of them.
    async fn check_places(
        &self,
        composition: &Composition,
        added: &BTreeSet<String>,
        merged: &Merged,
    ) -> Result<Option<AbortOnDropHandle<()>>, DeployError> {
        let names: BTreeSet<String> = added.union(&merged.relinked).cloned().collect();
        if names.is_empty() {
            return Ok(None);
        }
        let part = composition.application.restricted_to(&names);
        let check = moving::check(&part, composition.shared.stores(), &self.state);
        let places = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(check));
        let places = places.map_err(|error| match error {
            PlaceError::Mistakes(errors) => wrong(errors),
            error => failed(error),
        })?;
        if let Some(remote) = &self.remote {
            start::join(remote.nats(), &composition.application, &self.state, false).await.map_err(failed)?;
        }
        Ok(places)
    }

    /// Creates an instance of each component that is added, and a version of each that is linked again.
    async fn make_instances(
        &self,
        composition: &Composition,
        again: Vec<(String, Compiled, Grants)>,
        added: &BTreeSet<String>,
    ) -> Result<Vec<(String, Arc<Pool>, Arc<Version>)>, DeployError> {
        let (mut versions, mut mistakes) = (Vec::new(), Vec::new());
        let (application, fix) = (&composition.application, "correct the component, or what it is given");
        for pool in added.iter().filter_map(|name| composition.pools.get(name)) {
            if let Err(error) = pool.warm().await {
                mistakes.push(not_started(application, &error, fix));
            }
        }
        for (name, compiled, grants) in again {
            let Some(pool) = composition.pools.get(&name) else { continue };
            let id = pool.active().id().clone();
            let config = VersionConfig { id, compiled, grants: Arc::new(grants) };
            match pool.prepare(config).await {
                Ok(version) => versions.push((name, pool.clone(), version)),
                Err(error) => mistakes.push(not_started(application, &error, fix)),
            }
        }
        ManifestErrors::check(mistakes).map_err(wrong)?;
        Ok(versions)
    }
}

/// What else calls components, and must begin again.
fn changed(
    now: &Composition,
    new: &Application,
    added: &BTreeSet<String>,
    removed: &BTreeSet<String>,
    has_new_queue: bool,
) -> Changed {
    let old = &now.application;
    let loaded = !added.is_empty() || !removed.is_empty();
    let both = || new.components.values().filter_map(|new| Some((old.components.get(&new.name)?, new)));
    let services = |application: &Application| {
        let serving = application.components.values().filter(|component| !component.nest.serves.is_empty());
        serving.map(|component| (component.name.clone(), text(&component.nest.serves))).collect::<Vec<_>>()
    };
    let of_messages = |(old, new): (&souk_manifest::Component, &souk_manifest::Component)| {
        text(&old.schedules) != text(&new.schedules) || limits::of_deliveries(&old.limits, &new.limits)
    };
    Changed {
        deliveries: loaded || has_new_queue || both().any(of_messages),
        serving: loaded,
        services: services(old) != services(new),
    }
}

/// What is applied, one line each.
fn lines(merged: &Merged, added: &BTreeSet<String>, removed: &BTreeSet<String>) -> Vec<String> {
    let changed = merged.changed.iter().map(|(name, keys)| format!("component `{name}`: {}", keys.join(", ")));
    let parts = merged.parts.iter().map(|part| (*part).to_owned());
    let added = added.iter().map(|name| format!("component `{name}`, which is new, runs"));
    let removed = removed
        .iter()
        .map(|name| format!("component `{name}`, which is no longer in the manifest, takes no more calls"));
    changed.chain(parts).chain(added).chain(removed).collect()
}

/// The error for migrations that did not run.
fn not_migrated(error: MigrateError) -> DeployError {
    match error {
        MigrateError::Mistakes(errors) => wrong(errors),
        error => failed(error),
    }
}

/// The error for a manifest with mistakes.
pub(super) fn wrong(errors: ManifestErrors) -> DeployError {
    DeployError::Manifest { errors }
}
