//! What a manifest is made into: the components' pools, and everything that leads a call to one. A reload makes a new
//! composition beside the one that serves, and replaces it as a whole.

use super::grants::Shared;
use super::handler::Handler;
use super::routes::Routing;
use parking_lot::RwLock;
use souk_links::durable::{Queue, Scheduled};
use souk_links::nest::Service;
use souk_links::redis::Channel;
use souk_manifest::Application;
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The composition of an application.
#[derive(Clone)]
pub(super) struct Composition {
    /// What is in force of the manifest.
    pub(super) application: Arc<Application>,
    /// The instances of each component that is loaded here.
    pub(super) pools: BTreeMap<String, Arc<Pool>>,
    /// What answers HTTP requests, by component.
    pub(super) handlers: BTreeMap<String, Handler>,
    /// Maps requests to components and other answers.
    pub(super) routing: Arc<Routing>,
    /// The messages of durable links; `None` when nothing here sends or receives them, and none are left from before.
    pub(super) queue: Option<Queue>,
    /// The scheduled calls.
    pub(super) schedules: Vec<Arc<Scheduled>>,
    /// The patterns of a NestJS system that components here answer.
    pub(super) services: Arc<Vec<Service>>,
    /// The Redis channels of components here.
    pub(super) channels: Vec<Channel>,
    /// What is open, and granted to components.
    pub(super) shared: Shared,
}

/// The composition that serves.
pub(super) type Composed = Arc<RwLock<Arc<Composition>>>;
