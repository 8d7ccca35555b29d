//! Why an application does not start.

use super::deploy::DeployError;
use super::migrations::MigrateError;
use super::queue::OpenQueueError;
use crate::moving::PlaceError;
use souk_links::cluster::ClusterError;
use souk_links::remote::PeerError;
use souk_manifest::ManifestErrors;
use souk_manifest::secrets::SecretError;
use souk_manifest::state::StateError;
use souk_nats::NatsError;
use souk_runtime::EngineError;

/// The application does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is wrong with the application: with its components' code, imports, exports and types, with what they are
    /// granted, and with the tables that lead to them. All of it, each with component, line and fix.
    #[error(transparent)]
    Mistakes(#[from] ManifestErrors),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Two measures have one name.
    #[error("the measures clash: {0}\n  fix: this is a mistake in Souk: please report it")]
    Measures(#[from] prometheus::Error),
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The other hosts do not agree.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// This host does not belong to the others on NATS.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What the hosts have agreed on cannot be written down.
    #[error(transparent)]
    Versions(DeployError),
    /// The state folder has no name of its own.
    #[error("{error}\n  fix: {}", error.fix())]
    State {
        /// Why.
        error: SecretError,
    },
    /// The folder of recorded calls cannot be used.
    #[error(transparent)]
    Recordings(StateError),
    /// A migration was changed or failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// Data has another place now, and is not there.
    #[error(transparent)]
    Places(#[from] PlaceError),
    /// The queue of durable messages cannot be opened.
    #[error(transparent)]
    Queue(#[from] OpenQueueError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0:#}\n  fix: this is a mistake in Souk: please report it")]
    Client(anyhow::Error),
    /// A part of start-up was stopped.
    #[error("start-up was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}
