//! From a checked manifest to a running application.

use super::deploy::Deployments;
use super::deploy::chosen;
use super::deploy::kept::Kept;
use super::error::StartError;
use super::grants::Shared;
use super::routes::Routing;
use super::{App, dispatch, handler, imports, migrations, nest, queue, redis, remote_parts, schedules, stand_ins};
use crate::machine;
use parking_lot::RwLock;
use souk_bindings::boundary::Boundaries;
use souk_bindings::trace::Tracer;
use souk_bindings::{self as bindings, Ctx};
use souk_links::cluster::{self, Places};
use souk_links::durable::{self, Queue};
use souk_links::remote::{self, ExpectedType, Linked, Presence, Remote};
use souk_links::stand_in;
use souk_links::{Import, LinkError, Target, local};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component as Declared, Delay, Dependency, Diagnostic, ManifestErrors, Route};
use souk_nats::Nats;
use souk_runtime::{
    CompileError, Compiled, Engine, Exported, Fairness, Pool, PoolConfig, VersionConfig, VersionId, vital,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Component, Linker};

souk_manifest::fixed_limits! {
    /// The fixed limits of idle instances.
    pub(crate) const FIXED_LIMITS = "components";

    /// The shortest interval at which instances are looked for that have been idle for too long.
    const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(10);
    /// The longest interval at which instances are looked for that have been idle for too long.
    const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
    /// How often a start says which components are still being compiled.
    const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
}

/// What start-up has done, for someone who waits for it.
pub enum Progress {
    /// Code is being compiled, and takes a while; it is kept for the next start.
    Compiling {
        /// The components that are not ready, and how large the code of each is.
        components: Vec<(String, u64)>,
        /// How long it has taken so far.
        so_far: Duration,
    },
    /// A component's code is ready.
    Ready {
        /// The components that share it.
        components: Vec<String>,
        /// How long that took.
        took: Duration,
    },
    /// A component's migrations were run.
    Migrated {
        /// The component.
        component: String,
        /// How many were applied now.
        count: usize,
    },
}

/// What an application is started for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    /// To see whether it starts.
    Trial,
    /// To count what its calls cost.
    Count,
}

impl App {
    /// Starts `application` with its state in `state`; `tracer` says which requests have a trace.
    ///
    /// # Errors
    /// When anything is missing, wrong, or not as the manifest says.
    pub async fn start(
        application: Application,
        state: &StateFolder,
        tracer: Tracer,
        progress: impl Fn(Progress),
    ) -> Result<Arc<Self>, StartError> {
        App::start_with(application, state, tracer, progress, Purpose::Serve).await
    }

    /// Starts `application` to count what its calls cost, as [`Engine::start_counted`] has it. Not to serve with.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_counted(application: Application, state: &StateFolder) -> Result<Arc<Self>, StartError> {
        App::start_with(application, state, Tracer::off(), |_| {}, Purpose::Count).await
    }

    /// Starts `application` to see whether it does: its messages are in `state`, where they would be in streams that
    /// hosts share.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn try_out(application: Application, state: &StateFolder) -> Result<(), StartError> {
        App::start_with(application, state, Tracer::off(), |_| {}, Purpose::Trial).await.map(|_| ())
    }

    async fn start_with(
        application: Application,
        state: &StateFolder,
        tracer: Tracer,
        progress: impl Fn(Progress),
        purpose: Purpose,
    ) -> Result<Arc<Self>, StartError> {
        let trial = purpose == Purpose::Trial;
        // Start-up blocks this thread where it opens files: nothing else runs yet.
        ManifestErrors::check(remote_parts::check(&application))?;
        let part = application.restricted_to(&application.reachable());
        for component in application.here().filter(|component| !part.runs_here(&component.name)) {
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
        let engine = match purpose {
            Purpose::Count => Engine::start_counted(&state.cache())?,
            _ => Engine::start(&state.cache(), application.here().map(|c| &c.limits))?,
        };
        let agreed = async {
            match &remote {
                Some(remote) => Ok(remote::agree(remote.nats(), &application, !trial).await?),
                None => Ok(()),
            }
        };
        let kept = Kept::of(state.path());
        let (chosen, wrong) = chosen::choose(&part, &kept);
        let files = chosen.iter().map(|(component, one)| (component.clone(), one.path.clone())).collect();
        let ((codes, mut mistakes), ()) = tokio::try_join!(compile(&engine, &part, &files, &progress), agreed)?;
        mistakes.extend(wrong);
        let boundaries = if trial { Boundaries::off() } else { Boundaries::measured()?.traced(tracer) };
        let mut shared = Shared::new(&application, boundaries)?;
        mistakes.extend(shared.open(&part, state, remote.as_ref().map(Remote::nats)).await);
        let events = nest::has_events(engine.wasmtime(), &application, &codes);
        let streams = remote.as_ref().map(Remote::nats).filter(|_| !trial);
        let receives = codes.values().any(|code| durable::receives(&Exported::of(engine.wasmtime(), code)));
        let fairness = Fairness::new(tokio::runtime::Handle::current().metrics().num_workers());
        let queue = queue::open(&application, state, streams, events, receives).await?;
        let mut wiring = Wiring {
            engine: engine.wasmtime(),
            application: &application,
            shared: &shared,
            fairness: fairness.clone(),
            state,
            queue: queue.as_ref(),
            remote: remote.as_ref(),
            codes,
            pools: BTreeMap::new(),
            ids: chosen.iter().map(|(component, one)| (component.clone(), one.id.clone())).collect(),
            stand_ins: stand_ins::answers(&application.stand_ins),
            expected: Vec::new(),
            tried: BTreeSet::new(),
            mistakes,
        };
        for name in application.components.keys() {
            wiring.pool(name);
        }
        let Wiring { pools, expected, codes, mut mistakes, .. } = wiring;
        pools.values().for_each(|pool| engine.sample(&pool.grants().usage));
        mistakes.extend(check_routes(engine.wasmtime(), &application, &application.routes, &codes));
        let handlers = handler::all(&application, &pools, remote.as_ref());
        let channels = redis::channels(&application, &pools, &mut mistakes);
        let schedules = schedules::all(&application, &pools, &mut mistakes);
        let nats = remote.as_ref().map(Remote::nats);
        let services = nest::services(&application, &pools, queue.as_ref(), nats, &mut mistakes);
        ManifestErrors::check(mistakes)?;
        // A host that does not start for other reasons says nothing to those that come later.
        if let Some(nats) = nats.filter(|_| !trial) {
            join(nats, &application, state).await?;
        }
        for (component, count) in migrations::run(&part, shared.databases()).await? {
            progress(Progress::Migrated { component, count });
        }
        let sweeper = AbortOnDropHandle::new(tokio::spawn(swept(pools.values().cloned().collect())));
        let app = Arc::new(App {
            pools,
            routing: RwLock::new(Arc::new(Routing::of(&application, &handlers, shared.boundaries()))),
            application,
            handlers,
            remote,
            queue,
            schedules,
            services,
            channels,
            _presence: presence,
            _sweeper: sweeper,
            late: tokio::sync::Mutex::default(),
            shared,
            edge_uses: OnceLock::new(),
            fairness,
            state: state.clone(),
            deployments: Deployments::new(kept, chosen),
            engine,
        });
        app.shared.set_internal(dispatch::dispatch(&app));
        if let Some(remote) = &app.remote {
            tokio::spawn(remote::compare(remote.nats().clone(), expected));
        }
        Ok(app)
    }
}

/// Compares this host with what the hosts of the application have agreed on.
async fn join(nats: &Nats, application: &Application, state: &StateFolder) -> Result<(), StartError> {
    let id = state.id().map_err(|error| StartError::State { error })?;
    Ok(cluster::join(nats, application, &Places::of(application, &id), &machine::name()).await?)
}

/// Compiles all files at once, each once, or loads them from the cache; cranelift takes the cores that it finds. Returns
/// the code of each component, and what is wrong with the other files. A component's file is that of `chosen`, or the manifest's.
pub(super) async fn compile(
    engine: &Engine,
    application: &Application,
    chosen: &BTreeMap<String, PathBuf>,
    progress: &impl Fn(Progress),
) -> Result<(BTreeMap<String, Component>, Vec<Diagnostic>), StartError> {
    let mut files: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    for declared in application.here() {
        files.entry(chosen.get(&declared.name).unwrap_or(&declared.source)).or_default().push(declared.name.clone());
    }
    let mut tasks = tokio::task::JoinSet::new();
    let mut compiling: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let start = Instant::now();
    for (source, components) in files {
        compiling.insert(components.clone(), source.metadata().map_or(0, |file| file.len()));
        let (engine, source) = (engine.wasmtime().clone(), source.to_path_buf());
        tasks.spawn_blocking(move || {
            let start = Instant::now();
            let name = components.first().map_or("", String::as_str);
            let compiled = Compiled::compile(&engine, name, &source).map(|code| (code, start.elapsed()));
            (components, compiled)
        });
    }
    let (mut codes, mut mistakes) = (BTreeMap::new(), Vec::new());
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.reset();
    loop {
        let done = tokio::select! {
            done = tasks.join_next() => done,
            _ = tick.tick() => {
                let components = compiling.iter().map(|(names, bytes)| (names.join(", "), *bytes)).collect();
                progress(Progress::Compiling { components, so_far: start.elapsed() });
                continue;
            }
        };
        let Some(done) = done else { break };
        let (components, done) = done?;
        compiling.remove(&components);
        let (code, took) = match done {
            Ok(compiled) => compiled,
            Err(error) => {
                mistakes.push(not_compiled(application, error));
                continue;
            }
        };
        codes.extend(components.iter().map(|component| (component.clone(), code.clone())));
        progress(Progress::Ready { components, took });
    }
    Ok((codes, mistakes))
}

fn not_compiled(application: &Application, error: CompileError) -> Diagnostic {
    let line = application.components.get(&error.component).map_or(1, |component| component.line);
    application.mistake_at(line, &error.component, error.message, error.fix)
}

/// Makes the pools, callees before their callers.
pub(super) struct Wiring<'a> {
    pub(super) engine: &'a wasmtime::Engine,
    pub(super) application: &'a Application,
    pub(super) shared: &'a Shared,
    pub(super) fairness: Fairness,
    pub(super) state: &'a StateFolder,
    pub(super) queue: Option<&'a Queue>,
    pub(super) remote: Option<&'a Remote>,
    pub(super) codes: BTreeMap<String, Component>,
    pub(super) pools: BTreeMap<String, Arc<Pool>>,
    /// Which version of each component it is.
    pub(super) ids: BTreeMap<String, VersionId>,
    /// What answers for components that have a stand-in.
    pub(super) stand_ins: BTreeMap<String, stand_in::Answer>,
    /// What is called at other hosts.
    pub(super) expected: Vec<ExpectedType>,
    /// The components that were wired, or could not be.
    pub(super) tried: BTreeSet<String>,
    /// What is wrong with components.
    pub(super) mistakes: Vec<Diagnostic>,
}

impl Wiring<'_> {
    /// The pool of `name`, made with all that it depends on where it is not there yet; `None` where it runs on another
    /// host, or something is wrong with it. The manifest has no cycle, so this ends.
    pub(super) fn pool(&mut self, name: &str) -> Option<Arc<Pool>> {
        if let Some(pool) = self.pools.get(name) {
            return Some(pool.clone());
        }
        if !self.tried.insert(name.to_owned()) {
            return None;
        }
        let (compiled, declared) = (self.linked(name), self.application.components.get(name)?);
        let grants = match self.shared.grant(declared, self.application, self.state) {
            Ok(grants) => Arc::new(grants),
            Err(mistake) => {
                self.mistakes.push(mistake);
                return None;
            }
        };
        let id = self.ids.get(name).cloned().unwrap_or_else(|| VersionId::first("", &*self.application.version));
        let pool = Pool::new(PoolConfig {
            version: VersionConfig { id, compiled: compiled?, grants },
            limits: declared.limits.clone(),
            fairness: self.fairness.clone(),
            boundaries: self.shared.boundaries().clone(),
        });
        self.pools.insert(name.into(), pool.clone());
        Some(pool)
    }

    /// The code of `name`, linked to what it depends on; `None` where something is wrong with it.
    pub(super) fn linked(&mut self, name: &str) -> Option<Compiled> {
        let application = self.application;
        let (declared, code) = (application.components.get(name)?, self.codes.get(name)?.clone());
        // All of them first, so that what is wrong with them is not taken for this component's.
        let targets: Vec<_> = declared.dependencies.iter().map(|dependency| self.pool(&dependency.component)).collect();
        let known = self.mistakes.len();
        self.mistakes.extend(imports::check(self.engine, application, declared, &self.codes));
        let mut linker = Linker::new(self.engine);
        if let Err(error) = bindings::add_to_linker(&mut linker) {
            let message = format!("the host's own interfaces clash: {error:#}");
            self.mistakes.push(application.mistake(declared, message, "this is a mistake in Souk: please report it"));
        }
        let mut complete = true;
        for (dependency, pool) in declared.dependencies.iter().zip(&targets) {
            let remote_component: Arc<str> = dependency.component.as_str().into();
            let target = match pool {
                Some(pool) => Target::Local(pool),
                None if application.runs_here(&dependency.component) => {
                    complete = false;
                    continue;
                }
                None => Target::Remote(&remote_component),
            };
            self.link(&mut linker, declared, &code, dependency, target);
        }
        let nats = self.remote.map(Remote::nats);
        self.mistakes.extend(nest::link(&mut linker, self.engine, application, declared, &code, nats));
        // The linker's words about what is wrong already would be the same once more.
        if !complete || self.mistakes.len() > known {
            return None;
        }
        let compiled = match Compiled::link(name.into(), self.engine, &code, &mut linker) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.mistakes.push(not_compiled(application, error));
                return None;
            }
        };
        self.mistakes.extend(imports::check_idempotent(application, declared, &compiled.exported));
        Some(compiled)
    }

    fn link(
        &mut self,
        linker: &mut Linker<Ctx>,
        declared: &Declared,
        code: &Component,
        dependency: &Dependency,
        target: Target<'_>,
    ) {
        let component_type = code.component_type();
        let imports: Vec<String> = component_type
            .imports(self.engine)
            .map(|(import, _)| import.to_string())
            .filter(|import| dependency.name.covers(import))
            .collect();
        for import in imports {
            let export = dependency.export.as_deref().unwrap_or(&import);
            let durable = declared.durable.iter().find(|durable| durable.name.covers(&import));
            let line = durable.map_or(dependency.line, |durable| durable.line);
            let import = Import { engine: self.engine, importer: code, interface: &import, export, target };
            let forced = declared.remote.iter().any(|remote| remote.name.covers(import.interface));
            let linked = match (target, self.remote) {
                _ if let Some(answer) = self.stand_ins.get(&dependency.component) => {
                    let target = self.application.components.get(&dependency.component);
                    let most = target.map_or(declared.limits.call_deadline, |target| target.limits.call_deadline);
                    stand_in::link(linker, &import, most, answer).map(|()| Vec::new())
                }
                _ if durable.is_some()
                    && let Some(queue) = self.queue =>
                {
                    let caller = declared.name.as_str().into();
                    let delay = durable.map_or(&Delay::None, |durable| &durable.delay);
                    durable::link(linker, &import, &caller, queue, self.shared.boundaries(), delay).map(|()| Vec::new())
                }
                (Target::Local(pool), remote) if !forced || remote.is_none() => {
                    local::link(linker, &import, &declared.name, pool, self.shared.boundaries())
                }
                (_, Some(remote)) => self.link_remotely(linker, &import, declared, remote),
                // Without NATS there is no remote target: that has been checked.
                (_, None) => continue,
            };
            let functions_without_unavailable = linked.unwrap_or_else(|error| {
                let mistake = self.application.mistake_at(line, &declared.name, error.to_string(), error.fix());
                self.mistakes.push(mistake);
                Vec::new()
            });
            for function in functions_without_unavailable {
                tracing::warn!(
                    component = %declared.name,
                    "{function} has no error that could say that `{}` is unavailable: when it is, `{}` traps",
                    dependency.component,
                    declared.name,
                );
            }
        }
    }

    fn link_remotely(
        &mut self,
        linker: &mut Linker<Ctx>,
        import: &Import<'_>,
        declared: &Declared,
        remote: &Remote,
    ) -> Result<Vec<String>, LinkError> {
        let Some(target) = self.application.components.get(&**import.target.component()) else { return Ok(Vec::new()) };
        let linked = Linked {
            remote,
            caller: &declared.name.as_str().into(),
            call_deadline: target.limits.call_deadline,
            call_bytes: declared.limits.call_bytes,
            idempotent: &|function| target.idempotent.iter().any(|entry| entry.covers(import.export, function)),
            boundaries: self.shared.boundaries(),
        };
        self.expected.extend(remote::expected_types(import, &declared.name)?);
        remote::link(linker, import, &linked)
    }
}

/// Checks that every component of this host that has a route, or is middleware of one, handles HTTP. Returns the routes
/// of those that do not.
#[must_use]
pub(super) fn check_routes(
    engine: &wasmtime::Engine,
    application: &Application,
    routes: &[Route],
    codes: &BTreeMap<String, Component>,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for route in routes {
        for (component, what) in
            route.middleware.iter().map(|name| (name, "is middleware")).chain([(&route.component, "has a route")])
        {
            let Some(exported) = codes.get(component).map(|code| Exported::of(engine, code)) else { continue };
            if !exported.http() {
                let (message, fix) = not_a_handler(what, &exported);
                mistakes.push(application.mistake_at(route.line, component, message, fix));
            }
        }
    }
    mistakes
}

/// What is wrong with a component that requests come to and that exports no HTTP handler, and what would fix it.
fn not_a_handler(what: &str, exported: &Exported) -> (String, String) {
    let mut interfaces: Vec<&str> = exported.functions.iter().map(|f| f.interface.as_str()).collect();
    interfaces.dedup();
    let offers = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    let has = |prefix: &str| interfaces.iter().any(|interface| interface.starts_with(prefix));
    let fix = if has("wasi:http/") || has("fermyon:spin/inbound-http") {
        "build it with an SDK for a newer version of that interface: for Rust spin-sdk 5, 6 or 7"
    } else if has("wasi:cli/run") {
        "it is a program, which runs once: make it an HTTP handler, with an SDK or the crate wstd"
    } else {
        "take it away from the trigger, or make the component an HTTP handler"
    };
    let message = format!("{what} but exports neither wasi:http/handler@0.3 nor wasi:http/incoming-handler@0.2");
    (format!("{message}; it exports {offers}"), fix.to_owned())
}

/// Drops instances that nobody uses, for as long as the host runs.
pub(super) async fn swept(pools: Vec<Arc<Pool>>) {
    vital("the sweeper of instances", sweep(pools)).await;
}

async fn sweep(pools: Vec<Arc<Pool>>) {
    let shortest = pools.iter().map(|pool| pool.idle_limit()).min().unwrap_or(MAX_SWEEP_INTERVAL);
    let mut tick = tokio::time::interval(shortest.clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL));
    loop {
        tick.tick().await;
        for pool in &pools {
            pool.sweep();
        }
    }
}
