//! An application that runs: its components compiled, granted, linked and pooled.
//!
//! Start-up is all or nothing: [`App::start`] checks everything that can be checked before the first request, and an
//! error names the component and what would fix it. Nothing is served by halves.

mod grants;
mod imports;
mod migrations;
mod start;
mod summary;

use crate::links::durable::{Deliveries, Queue, QueueError};
use crate::manifest::{Application, Router};
use crate::runtime::{Engine, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use migrations::{MigrateError, migrate, migration_status};
pub use start::{Progress, StartError};
pub use summary::describe;

/// A running application.
pub struct App {
    application: Application,
    router: Router<Arc<Pool>>,
    pools: BTreeMap<String, Arc<Pool>>,
    /// Of durable links; none while the application has and had no such link.
    queue: Option<Queue>,
    /// Drops instances that nobody uses.
    _sweeper: AbortOnDropHandle<()>,
    // Last: the pools' stores belong to it.
    _engine: Engine,
}

impl App {
    /// The manifest.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Which component answers which path.
    pub fn router(&self) -> &Router<Arc<Pool>> {
        &self.router
    }

    /// The instances of `component`.
    pub fn pool(&self, component: &str) -> Option<&Arc<Pool>> {
        self.pools.get(component)
    }

    /// The messages of durable links.
    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Delivers the messages of durable links until `stop`. An application that is started for one call does not.
    ///
    /// # Errors
    /// When the queue fails.
    pub async fn deliver(&self, stop: CancellationToken) -> Result<Option<Deliveries>, QueueError> {
        match &self.queue {
            Some(queue) => Deliveries::start(queue, self.pools.values(), stop).await.map(Some),
            None => Ok(None),
        }
    }

    /// Every component's instances, by the component's name.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }
}
