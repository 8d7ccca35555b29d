//! A running application: its components compiled, granted, linked and pooled.
//!
//! Start-up is all or nothing: [`App::start`] checks everything that it can before the first request, and an error
//! names the component and the fix. An application is never served in part.

mod compile;
pub(crate) mod deploy;
mod dispatch;
mod error;
mod example_data;
mod grants;
mod handler;
mod imports;
mod late;
mod migrations;
mod nest;
mod queue;
mod redis;
mod remote_parts;
mod routes;
mod schedules;
mod seed;
mod stand_ins;
mod start;
mod summary;
mod wiring;

use async_nats::SubscribeError;
use grants::Shared;
use late::Late;
use parking_lot::RwLock;
use souk_bindings::boundary::Boundaries;
use souk_bindings::budget::ApplicationBudget;
use souk_bindings::key_value::Store;
use souk_bindings::postgres;
use souk_bindings::sqlite::Database;
use souk_links::durable::{Deliveries, Queue, QueueError, Scheduled};
use souk_links::nest::{Bridge, Service};
use souk_links::redis::{Channel, Listening, RedisError};
use souk_links::remote::{Presence, Remote, Serving};
use souk_manifest::budget::Use;
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component};
use souk_nats::NatsError;
use souk_runtime::{Engine, Fairness, Pool};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wiring::Surroundings;

pub(crate) use compile::FIXED_LIMITS as COMPILE_LIMITS;
pub use error::StartError;
pub use example_data::{add as add_examples, remove as remove_examples};
pub(crate) use grants::ReplayGrants;
pub use handler::{Entry, Handler};
pub use migrations::{MigrateError, migrate, migration_status};
pub use routes::{Answer, PublicRoute, Routing};
pub use seed::Seeds;
pub(crate) use stand_ins::FIXED_LIMITS as STAND_IN_LIMITS;
pub(crate) use start::FIXED_LIMITS;
pub use start::Progress;
pub use summary::describe;

/// A running application.
pub struct App {
    application: Application,
    pools: BTreeMap<String, Arc<Pool>>,
    /// What answers HTTP requests, by component.
    handlers: BTreeMap<String, Handler>,
    /// Maps requests to components and other answers.
    routing: RwLock<Arc<Routing>>,
    /// The connection to components on other hosts; `None` without NATS.
    remote: Option<Remote>,
    /// The messages of durable links; `None` when nothing here sends or receives them, and none are left from before.
    queue: Option<Queue>,
    /// The scheduled calls.
    schedules: Vec<Arc<Scheduled>>,
    /// The patterns of a NestJS system that components here answer.
    services: Vec<Service>,
    /// The Redis channels of components here.
    channels: Vec<Channel>,
    /// Announces this host to the others; `None` without NATS.
    _presence: Option<Presence>,
    /// Records when places of data get their first rows.
    _places: Option<AbortOnDropHandle<()>>,
    /// Drops idle instances.
    _sweeper: AbortOnDropHandle<()>,
    /// Components that only `souk call` has loaded.
    late: tokio::sync::Mutex<Late>,
    shared: Shared,
    /// Reports how much of the HTTP server's budgets is used, once there is a server.
    edge_uses: OnceLock<Box<dyn Fn() -> Vec<Use> + Send + Sync>>,
    fairness: Fairness,
    state: StateFolder,
    /// The versions of components.
    deployments: deploy::Deployments,
    // The last field: the pools' stores must be dropped first.
    engine: Engine,
}

impl App {
    /// The manifest.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// The folder of its state.
    pub fn state_path(&self) -> &std::path::Path {
        self.state.path()
    }

    /// The instances of `component`, which runs here.
    pub fn pool(&self, component: &str) -> Option<&Arc<Pool>> {
        self.pools.get(component)
    }

    /// What answers HTTP requests for `component`; `None` when it is off, or runs on another host and there is no NATS.
    pub fn handler(&self, component: &str) -> Option<&Handler> {
        self.handlers.get(component).filter(|_| !self.is_gone(component))
    }

    /// The chain of a request to `component`, through its middleware; `None` as for [`App::handler`].
    pub fn entry(&self, component: &str) -> Option<Entry> {
        if self.is_gone(component) {
            return None;
        }
        let routing = self.routing();
        let middleware = routing.middleware.get(component).map_or(&[][..], Vec::as_slice);
        handler::entry(&self.handlers, middleware, component)
    }

    /// What a component that is added later is wired with; its grants come from `shared`.
    fn surroundings<'a>(&'a self, shared: &'a Shared) -> Surroundings<'a> {
        Surroundings {
            engine: self.engine.wasmtime(),
            application: &self.application,
            shared,
            fairness: &self.fairness,
            state: &self.state,
            queue: self.queue.as_ref(),
            remote: self.remote.as_ref(),
        }
    }

    /// The current routing.
    pub fn routing(&self) -> Arc<Routing> {
        self.routing.read().clone()
    }

    /// The connection to components on other hosts.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Serves the components of this host to others until `stop`; `None` without NATS. An application started for one
    /// call does not serve.
    ///
    /// # Errors
    /// When the connection to NATS has been closed.
    pub async fn serve(&self, stop: CancellationToken) -> Result<Option<Serving>, NatsError> {
        match &self.remote {
            Some(remote) => {
                Serving::start(remote.nats(), self.pools.values(), &self.application.version, stop).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// The messages of durable links.
    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Delivers the messages of durable links and makes scheduled calls, until `stop`. An application started for one
    /// call does neither.
    ///
    /// # Errors
    /// When the queue fails.
    pub async fn deliver(&self, stop: CancellationToken) -> Result<Option<Deliveries>, QueueError> {
        match &self.queue {
            Some(queue) => Deliveries::start(queue, self.pools.values(), &self.schedules, stop).await.map(Some),
            None => Ok(None),
        }
    }

    /// Answers the messages of a NestJS system until `stop`. An application started for one call does not.
    ///
    /// # Errors
    /// When NATS refuses the subscription.
    pub async fn bridge(&self, stop: CancellationToken) -> Result<Option<Bridge>, SubscribeError> {
        match &self.remote {
            Some(remote) if !self.services.is_empty() => {
                Bridge::start(remote.nats(), &self.services, stop).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The patterns of a component of this host that another service also answers.
    pub fn answered_twice(&self, component: &str) -> Vec<&str> {
        let own = self.services.iter().filter(|service| service.component().is_some_and(|name| **name == *component));
        own.flat_map(Service::answered_twice).collect()
    }

    /// The boundaries that calls cross.
    pub fn boundaries(&self) -> &Boundaries {
        self.shared.boundaries()
    }

    /// The SQLite databases.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.shared.databases().iter()
    }

    /// The connections to PostgreSQL.
    pub fn postgres_pools(&self) -> Vec<postgres::PoolUse> {
        self.shared.postgres_pools()
    }

    /// The key-value store of `label`.
    pub fn store(&self, label: &str) -> Option<&Arc<Store>> {
        self.shared.stores().get(label)
    }

    /// The PostgreSQL servers that `component` may reach.
    pub fn postgres_of(&self, component: &Component) -> postgres::Granted {
        self.shared.postgres_of(component)
    }

    /// The budget that all instances share.
    pub fn budget(&self) -> &Arc<ApplicationBudget> {
        self.shared.budget()
    }

    /// Passes the messages of Redis channels to components until `stop`; `None` when no trigger names a channel. An
    /// application started for one call does not listen.
    ///
    /// # Errors
    /// When a server does not answer, or refuses the subscription.
    pub async fn listen(&self, stop: CancellationToken) -> Result<Option<Listening>, RedisError> {
        if self.channels.is_empty() {
            return Ok(None);
        }
        Listening::start(&self.channels, stop).await.map(Some)
    }

    /// Sets the function that reports how much of the HTTP server's budgets is used.
    pub fn use_of_edge(&self, uses: impl Fn() -> Vec<Use> + Send + Sync + 'static) {
        let _ = self.edge_uses.set(Box::new(uses));
    }

    /// How much of each budget is in use.
    pub fn uses(&self) -> Vec<Use> {
        let budget = self.shared.budget();
        let mut uses = self.edge_uses.get().map(|uses| uses()).unwrap_or_default();
        uses.push(Use::bytes("application_memory", budget.memory.taken(), budget.memory.most()));
        uses.push(Use::count("open_files", budget.files.taken(), budget.files.most(), "files"));
        uses.extend(self.pools().map(|pool| {
            let name = format!("instances of {}", pool.component());
            Use::count(name, pool.busy(), pool.limits().instances, "instances")
        }));
        uses
    }

    /// Every component's instances, by the component's name.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }
}
