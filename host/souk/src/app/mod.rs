//! A running application: its components compiled, granted, linked and pooled.
//!
//! Start-up is all or nothing: [`App::start`] checks everything that it can before the first request, and an error
//! names the component and the fix. An application is never served in part.

mod compile;
mod composition;
pub(crate) mod deploy;
mod dispatch;
mod error;
mod example_data;
mod grants;
mod handler;
mod imports;
mod intakes;
mod late;
mod migrations;
mod nest;
mod progress;
mod queue;
mod redis;
mod remote_parts;
mod routes;
mod schedules;
mod seed;
mod stand_ins;
mod start;
mod summary;
mod sweeper;
mod wiring;

use composition::{Composed, Composition};
use grants::Shared;
use intakes::{Changed, Intakes, Running};
use parking_lot::Mutex;
use souk_bindings::boundary::Boundaries;
use souk_bindings::budget::ApplicationBudget;
use souk_bindings::key_value::Store;
use souk_bindings::postgres;
use souk_bindings::sqlite::Database;
use souk_links::durable::Queue;
use souk_links::nest::Service;
use souk_links::redis::Channel;
use souk_links::remote::{Presence, Remote};
use souk_manifest::budget::Use;
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component};
use souk_runtime::{Engine, Fairness, Pool};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wiring::Surroundings;

pub(crate) use compile::FIXED_LIMITS as COMPILE_LIMITS;
pub use error::StartError;
pub use example_data::{add as add_examples, remove as remove_examples};
pub(crate) use grants::ReplayGrants;
pub use handler::{Entry, Handler};
pub use intakes::IntakeError;
pub use migrations::{MigrateError, migrate, migration_status};
pub use progress::Progress;
pub use routes::{Answer, PublicRoute, Routing};
pub use seed::Seeds;
pub(crate) use stand_ins::FIXED_LIMITS as STAND_IN_LIMITS;
pub use summary::describe;
pub(crate) use sweeper::FIXED_LIMITS;

/// Called with each pool that is loaded.
type OnPool = Box<dyn Fn(&Arc<Pool>) + Send + Sync>;

/// Components that were loaded late.
#[derive(Default)]
struct Late {
    pools: BTreeMap<String, Arc<Pool>>,
    /// The tasks that drop idle instances.
    sweepers: Vec<AbortOnDropHandle<()>>,
}

/// A running application.
pub struct App {
    composed: Composed,
    /// The connection to components on other hosts; `None` without NATS.
    remote: Option<Remote>,
    /// What calls components besides HTTP requests, once the application serves.
    intakes: OnceLock<Intakes>,
    /// Announces this host to the others; `None` without NATS.
    presence: Mutex<Option<Presence>>,
    /// Record when places of data get their first rows.
    places: Mutex<Vec<AbortOnDropHandle<()>>>,
    /// Drops idle instances.
    _sweeper: AbortOnDropHandle<()>,
    /// Components that only `souk call` has loaded.
    late: tokio::sync::Mutex<Late>,
    boundaries: Boundaries,
    budget: Arc<ApplicationBudget>,
    /// Reports how much of the HTTP server's budgets is used, once there is a server.
    edge_uses: OnceLock<Box<dyn Fn() -> Vec<Use> + Send + Sync>>,
    on_pool: OnceLock<OnPool>,
    fairness: Fairness,
    state: StateFolder,
    /// The versions of components.
    deployments: deploy::Deployments,
    // The last field: the pools' stores must be dropped first.
    engine: Engine,
}

impl App {
    /// The composition that serves now.
    fn now(&self) -> Arc<Composition> {
        self.composed.read().clone()
    }

    /// What is in force of the manifest.
    pub fn application(&self) -> Arc<Application> {
        self.composed.read().application.clone()
    }

    /// The folder of its state.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// The path of that folder.
    pub fn state_path(&self) -> &std::path::Path {
        self.state.path()
    }

    /// The instances of `component`, which runs here.
    pub fn pool(&self, component: &str) -> Option<Arc<Pool>> {
        self.composed.read().pools.get(component).cloned()
    }

    /// From now on compiling does not wait for calls: a developer waits for what is built.
    pub(crate) fn compile_without_yielding(&self) {
        self.engine.compiler().let_calls_go_first(false);
    }

    /// What answers HTTP requests for `component`; `None` when it is off, or runs on another host and there is no NATS.
    pub fn handler(&self, component: &str) -> Option<Handler> {
        self.composed.read().handlers.get(component).cloned()
    }

    /// The chain of a request to `component`, through its middleware; `None` as for [`App::handler`].
    pub fn entry(&self, component: &str) -> Option<Entry> {
        let now = self.now();
        let middleware = now.routing.middleware.get(component).map_or(&[][..], Vec::as_slice);
        handler::entry(&now.handlers, middleware, component)
    }

    /// What a component that is added later is wired with; its grants come from `shared`.
    fn surroundings<'a>(
        &'a self,
        application: &'a Application,
        shared: &'a Shared,
        queue: Option<&'a Queue>,
    ) -> Surroundings<'a> {
        Surroundings {
            engine: self.engine.wasmtime(),
            application,
            shared,
            fairness: &self.fairness,
            state: &self.state,
            queue,
            remote: self.remote.as_ref(),
        }
    }

    /// The current routing.
    pub fn routing(&self) -> Arc<Routing> {
        self.composed.read().routing.clone()
    }

    /// The connection to components on other hosts.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The messages of durable links.
    pub fn queue(&self) -> Option<Queue> {
        self.composed.read().queue.clone()
    }

    /// The patterns of a component of this host that another service also answers.
    pub fn answered_twice(&self, component: &str) -> Vec<String> {
        let services = self.composed.read().services.clone();
        let own = services.iter().filter(|service| service.component().is_some_and(|name| **name == *component));
        own.flat_map(Service::answered_twice).map(str::to_owned).collect()
    }

    /// The boundaries that calls cross.
    pub fn boundaries(&self) -> &Boundaries {
        &self.boundaries
    }

    /// The SQLite databases.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        self.composed.read().shared.databases().iter().cloned().collect()
    }

    /// The connections to PostgreSQL.
    pub fn postgres_pools(&self) -> Vec<postgres::PoolUse> {
        self.now().shared.postgres_pools()
    }

    /// The key-value store of `label`.
    pub fn store(&self, label: &str) -> Option<Arc<Store>> {
        self.composed.read().shared.stores().get(label).cloned()
    }

    /// The PostgreSQL servers that `component` may reach.
    pub fn postgres_of(&self, component: &Component) -> postgres::Granted {
        self.now().shared.postgres_of(component)
    }

    /// The budget that all instances share.
    pub fn budget(&self) -> &Arc<ApplicationBudget> {
        &self.budget
    }

    /// Calls `on_pool` with the pool of every component, now and whenever one is added. Only the first call has an
    /// effect.
    pub fn on_pool(&self, on_pool: impl Fn(&Arc<Pool>) + Send + Sync + 'static) {
        self.pools().iter().for_each(&on_pool);
        let _ = self.on_pool.set(Box::new(on_pool));
    }

    /// Sets the function that reports how much of the HTTP server's budgets is used.
    pub fn use_of_edge(&self, uses: impl Fn() -> Vec<Use> + Send + Sync + 'static) {
        let _ = self.edge_uses.set(Box::new(uses));
    }

    /// How much of each budget is in use.
    pub fn uses(&self) -> Vec<Use> {
        let budget = &self.budget;
        let mut uses = self.edge_uses.get().map(|uses| uses()).unwrap_or_default();
        uses.push(Use::bytes("application_memory", budget.memory.taken(), budget.memory.limit()));
        uses.push(Use::count("open_files", budget.files.taken(), budget.files.limit(), "files"));
        uses.extend(self.pools().iter().map(|pool| {
            let name = format!("instances of {}", pool.component());
            Use::count(name, pool.busy(), pool.limit(|limits| limits.instances), "instances")
        }));
        uses
    }

    /// Every component's instances, by the component's name.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.composed.read().pools.values().cloned().collect()
    }

    /// Lets components be called by messages, schedules and other hosts until `stop`; `drain` is how long calls may take
    /// after that. An application that was started for one call does not.
    ///
    /// # Errors
    /// When the queue fails, the connection to NATS is closed, or a Redis server does not answer.
    pub async fn take_calls(&self, stop: CancellationToken, drain: Duration) -> Result<(), IntakeError> {
        let intakes = Intakes::start(self.remote(), &self.now(), stop, drain).await?;
        let _ = self.intakes.set(intakes);
        Ok(())
    }

    /// Begins what a reload to `composition` changes; `channels` are those that are new. Nothing has ended yet:
    /// dropping the result undoes it.
    async fn begin_intakes(
        &self,
        composition: &Composition,
        changed: Changed,
        channels: &[Channel],
    ) -> Result<Running, IntakeError> {
        match self.intakes.get() {
            Some(intakes) => intakes.begin(self.remote(), composition, changed, channels).await,
            None => Ok(Running::default()),
        }
    }

    /// Ends what `began` replaces.
    fn replace_intakes(&self, began: Running, changed: Changed) {
        if let Some(intakes) = self.intakes.get() {
            intakes.replace(began, changed);
        }
    }

    /// Waits until the calls that were taken have ended. Returns whether none of another host was cut off.
    pub async fn finish_calls(&self) -> bool {
        match self.intakes.get() {
            Some(intakes) => intakes.finish().await,
            None => true,
        }
    }
}
