//! Starts an application from a checked manifest.

use super::compile::compile;
use super::composition::{Composed, Composition};
use super::deploy::Deployments;
use super::deploy::at_start;
use super::deploy::chosen::{self, ChosenVersion};
use super::deploy::messages;
use super::deploy::version_folder::VersionFolder;
use super::error::StartError;
use super::grants::Shared;
use super::progress::Progress;
use super::routes::{Routing, check_routes};
use super::sweeper::swept;
use super::wiring::{Surroundings, Wiring};
use super::{App, dispatch, handler, migrations, nest, queue, redis, remote_parts, schedules};
use crate::machine;
use crate::moving;
use crate::recordings::Recordings;
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use souk_bindings::boundary::Boundaries;
use souk_bindings::trace::Tracer;
use souk_links::cluster::{self, Places};
use souk_links::durable;
use souk_links::remote::{self, Presence, Remote};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Diagnostic, ManifestErrors};
use souk_nats::Nats;
use souk_runtime::{Engine, Exported, Fairness, Pool, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use tokio_util::task::AbortOnDropHandle;

/// The purpose of a start.
enum Purpose {
    /// To serve for a long time: another process compiles.
    Serve(Program),
    /// For calls by hand, when no host runs: only these components.
    Call(BTreeSet<String>),
    /// To test whether it starts.
    Trial,
    /// To count the cost of its calls, with these boundaries.
    Count(Boundaries),
}

impl App {
    /// Starts `application` with its state in `state`; `tracer` decides which requests have a trace, and `program`
    /// compiles.
    ///
    /// # Errors
    /// When anything is missing, wrong, or not as the manifest says.
    pub async fn start(
        application: Application,
        state: &StateFolder,
        tracer: Tracer,
        program: Program,
        progress: impl Fn(Progress),
    ) -> Result<Arc<Self>, StartError> {
        App::start_with(application, state, tracer, progress, Purpose::Serve(program)).await
    }

    /// Starts `components` of `application` for calls by hand; others are loaded when they are called. It compares the
    /// places of data with those of the hosts that serve it, and does not record them.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_for_calls(
        application: Application,
        state: &StateFolder,
        components: &BTreeSet<String>,
        progress: impl Fn(Progress),
    ) -> Result<Arc<Self>, StartError> {
        App::start_with(application, state, Tracer::off(), progress, Purpose::Call(components.clone())).await
    }

    /// Starts `application` to count the cost of its calls, as [`Engine::start_counted`] does, and what `boundaries` add
    /// to it. Not for serving.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_counted(
        application: Application,
        state: &StateFolder,
        boundaries: Boundaries,
    ) -> Result<Arc<Self>, StartError> {
        App::start_with(application, state, Tracer::off(), |_| {}, Purpose::Count(boundaries)).await
    }

    /// Starts `application` to test whether it starts. Its messages are in `state`, even if they would otherwise be in
    /// streams that hosts share.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn try_out(
        application: Application,
        state: &StateFolder,
        progress: impl Fn(Progress),
    ) -> Result<(), StartError> {
        App::start_with(application, state, Tracer::off(), progress, Purpose::Trial).await.map(|_| ())
    }

    async fn start_with(
        application: Application,
        state: &StateFolder,
        tracer: Tracer,
        progress: impl Fn(Progress),
        purpose: Purpose,
    ) -> Result<Arc<Self>, StartError> {
        let (trial, serves) = (matches!(purpose, Purpose::Trial), matches!(purpose, Purpose::Serve(_)));
        // Start-up blocks this thread when it opens files; nothing else runs yet.
        ManifestErrors::check(remote_parts::check(&application))?;
        let loaded = match &purpose {
            Purpose::Call(components) => components.clone(),
            Purpose::Serve(_) | Purpose::Trial | Purpose::Count(_) => application.reachable(),
        };
        let part = application.restricted_to(&loaded);
        let is_call = matches!(purpose, Purpose::Call(_));
        for component in application.here().filter(|component| !is_call && !part.runs_here(&component.name)) {
            tracing::info!(
                "component `{}` is not loaded: no trigger, dependency, durable link, schedule or table of Nest leads to it; `souk \
                 call` loads it",
                component.name
            );
        }
        remote_parts::inform(&part);
        let remote = match &application.nats {
            Some(config) => Some(Remote::open(Nats::connect(config, &application.name).await?).await?),
            None => None,
        };
        let presence = match remote.as_ref().filter(|_| !trial) {
            Some(remote) => Some(Presence::start(remote.nats(), &application).await?),
            None => None,
        };
        let limits = || application.here().map(|c| &c.limits);
        let engine = match &purpose {
            Purpose::Count(_) => Engine::start_counted(&state.cache())?,
            Purpose::Serve(program) => Engine::start(&state.cache(), limits(), Some(program.clone()))?,
            Purpose::Call(_) | Purpose::Trial => Engine::start(&state.cache(), limits(), None)?,
        };
        let agreed = async {
            match &remote {
                Some(remote) => Ok(remote::agree(remote.nats(), &application, !trial).await?),
                None => Ok(()),
            }
        };
        let kept = VersionFolder::of(state.path());
        let (intents, agreed_on) = match &remote {
            Some(remote) if matches!(purpose, Purpose::Serve(_)) => {
                at_start::learn(remote.nats(), &part, &kept).await?
            }
            _ => Default::default(),
        };
        let (chosen, wrong) = chosen::choose(&part, &kept, &agreed_on);
        let files = chosen.iter().map(|(component, one)| (component.clone(), one.path.clone())).collect();
        let ((codes, mut mistakes), ()) = tokio::try_join!(compile(&engine, &part, &chosen, &progress), agreed)?;
        mistakes.extend(wrong);
        let boundaries = match &purpose {
            Purpose::Trial => Boundaries::off(),
            Purpose::Count(boundaries) => boundaries.clone(),
            Purpose::Serve(_) | Purpose::Call(_) => Boundaries::measured()?.traced(tracer),
        };
        let mut shared = Shared::new(&application, boundaries)?;
        if matches!(purpose, Purpose::Serve(_)) {
            shared.record(Recordings::open(state.path(), &part).map_err(StartError::Recordings)?);
        }
        mistakes.extend(shared.open(&part, state, remote.as_ref().map(Remote::nats)).await);
        mistakes.extend(souk_bindings::migrations::check(&part));
        let events = nest::has_events(engine.wasmtime(), &application, &codes);
        let streams = remote.as_ref().map(Remote::nats).filter(|_| !trial);
        let receives = codes.values().any(|code| durable::receives(&Exported::of(engine.wasmtime(), code)));
        let fairness = Fairness::new(tokio::runtime::Handle::current().metrics().num_workers());
        let queue = queue::open(&application, state, streams, events, receives).await?;
        let around = Surroundings {
            engine: engine.wasmtime(),
            application: &application,
            shared: &shared,
            fairness: &fairness,
            state,
            queue: queue.as_ref(),
            remote: remote.as_ref(),
        };
        let mut wiring = Wiring::new(around, codes);
        wiring.ids = chosen.iter().map(|(component, one)| (component.clone(), one.id.clone())).collect();
        wiring.files = files;
        wiring.mistakes = mistakes;
        // A component that is not loaded may lack what its table grants.
        for component in part.here() {
            wiring.pool(&component.name);
        }
        let Wiring { pools, expected, codes, mut mistakes, .. } = wiring;
        pools.values().for_each(|pool| engine.sample(&pool.grants().usage));
        mistakes.extend(check_routes(engine.wasmtime(), &application, &application.routes, &codes));
        let handlers = handler::all(&application, &pools, remote.as_ref());
        let channels = redis::channels(&application, &pools, &mut mistakes);
        let schedules = schedules::all(&application, &pools, &mut mistakes);
        let nats = remote.as_ref().map(Remote::nats);
        let services = nest::services(&application, &pools, queue.as_ref(), nats, &mut mistakes);
        if serves {
            let loaded = (&chosen, &kept);
            let refused = messages::refused_by_changed(queue.as_ref(), &engine, &application, loaded, &pools).await;
            mistakes.extend(refuse(refused, loaded, &part));
        }
        ManifestErrors::check(mistakes)?;
        if serves {
            ManifestErrors::check(warm(&pools, &chosen, &part, &kept).await)?;
        }
        let watch = match trial {
            true => None,
            false => moving::check(&part, shared.stores(), state).await?,
        };
        // This comes last, so that a host that fails to start for another reason records nothing for later hosts.
        if let Some(nats) = nats.filter(|_| !trial) {
            join(nats, &application, state, is_call).await?;
        }
        let migrated = match serves {
            true => migrations::run_tried_out(&part, shared.databases()).await?,
            false => migrations::run(&part, shared.databases()).await?,
        };
        for (component, count) in migrated {
            progress(Progress::Migrated { component, count });
        }
        let (boundaries, budget) = (shared.boundaries().clone(), shared.budget().clone());
        let composed: Composed = Arc::new(RwLock::new(Arc::new(Composition {
            routing: Arc::new(Routing::of(&application, &handlers, &boundaries)),
            pools,
            application: Arc::new(application),
            handlers,
            queue,
            schedules,
            services: Arc::new(services),
            channels,
            shared: shared.clone(),
        })));
        let sweeper = swept({
            let composed = composed.clone();
            move || composed.read().pools.values().cloned().collect()
        });
        let app = Arc::new(App {
            composed,
            remote,
            intakes: OnceLock::new(),
            presence: Mutex::new(presence),
            places: Mutex::new(watch.into_iter().collect()),
            _sweeper: AbortOnDropHandle::new(tokio::spawn(sweeper)),
            late: tokio::sync::Mutex::default(),
            boundaries,
            budget,
            edge_uses: OnceLock::new(),
            on_pool: OnceLock::new(),
            fairness,
            state: state.clone(),
            deployments: Deployments::new(kept, intents, chosen),
            engine,
        });
        shared.set_internal(dispatch::dispatch(&app));
        app.apply_trials();
        if serves {
            app.engine.compiler().let_calls_go_first(true);
        }
        if let Some(remote) = &app.remote {
            tokio::spawn(remote::compare(remote.nats().clone(), expected));
        }
        Ok(app)
    }
}

/// The mistakes of new versions that would not take messages that wait for them, as a deployment reports them, and what
/// these versions are.
fn refuse(
    refused: BTreeMap<String, Vec<Diagnostic>>,
    (chosen, kept): (&BTreeMap<String, ChosenVersion>, &VersionFolder),
    application: &Application,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for (name, of_messages) in refused {
        if let (Some(one), Some(declared)) = (chosen.get(&name), application.components.get(&name)) {
            let what = "does not take all messages that wait for it";
            mistakes.push(one.refused(application, declared, what, kept));
        }
        mistakes.extend(of_messages);
    }
    mistakes
}

/// Creates an instance of each component, so that its first call need not wait for one. Returns the mistakes: code that
/// is new here and cannot start, as a deployment refuses it.
async fn warm(
    pools: &BTreeMap<String, Arc<Pool>>,
    chosen: &BTreeMap<String, ChosenVersion>,
    application: &Application,
    kept: &VersionFolder,
) -> Vec<Diagnostic> {
    let warmed = pools.iter().map(async |(name, pool)| (name, pool.warm().await));
    let mut refused = Vec::new();
    for (name, warmed) in join_all(warmed).await {
        let Err(error) = warmed else { continue };
        let declared = application.components.get(name);
        if let (Some(one), Some(declared)) = (chosen.get(name).filter(|one| one.reason.is_new()), declared) {
            refused.push(one.refused(application, declared, &error.what(), kept));
            continue;
        }
        tracing::error!(component = %name, "{error}; fix: correct the component, or its limits");
    }
    refused
}

/// Compares this host with what the application's hosts agreed on.
pub(super) async fn join(
    nats: &Nats,
    application: &Application,
    state: &StateFolder,
    only_calls: bool,
) -> Result<(), StartError> {
    let id = state.id().map_err(|error| StartError::State { error })?;
    let places = Places::of(application, &id);
    match only_calls {
        true => cluster::visit(nats, application, &places).await?,
        false => cluster::join(nats, application, &places, &machine::name()).await?,
    }
    Ok(())
}
