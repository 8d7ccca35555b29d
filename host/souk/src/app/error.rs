//! Why an application does not start.

use super::deploy::error::DeployError;
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
    /// All mistakes of the application: in its components' code, imports, exports and types, in their grants, and in
    /// the tables that lead to them; each with component, line and fix.
    #[error(transparent)]
    Mistakes(#[from] ManifestErrors),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Two metrics have the same name.
    #[error("the metrics have conflicting names: {0}\n  fix: this is a bug in Souk: please report it")]
    Measures(#[from] prometheus::Error),
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The hosts disagree about settings or about the protocol.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// This host does not fit the other hosts on NATS.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The versions that the hosts agreed on cannot be saved.
    #[error(transparent)]
    Versions(DeployError),
    /// The state folder's id cannot be read or created.
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
    /// Data is configured at a new place, but is not there.
    #[error(transparent)]
    Places(#[from] PlaceError),
    /// The queue of durable messages cannot be opened.
    #[error(transparent)]
    Queue(#[from] OpenQueueError),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created: {0:#}\n  fix: this is a bug in Souk: please report it")]
    Client(anyhow::Error),
    /// A part of start-up was stopped.
    #[error("start-up was stopped: {0}\n  fix: this is a bug in Souk: please report it")]
    Stopped(#[from] tokio::task::JoinError),
}
