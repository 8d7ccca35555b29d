//! Why an application does not start.

use super::grants::GrantError;
use super::migrations::MigrateError;
use souk_links::LinkError;
use souk_links::remote::PeerError;
use souk_nats::NatsError;
use souk_runtime::{CompileError, EngineError};

/// The application does not start. Names the component and the fix.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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
    /// A component's code is missing or wrong.
    #[error("{manifest}:{line}: {error}")]
    Compile {
        /// The manifest.
        manifest: String,
        /// The line of the component.
        line: usize,
        /// What is wrong, and the fix.
        error: CompileError,
    },
    /// A migration was changed or failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// What a component is granted cannot be opened.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A link cannot be made.
    #[error("{manifest}:{line}: component `{component}`: {error}")]
    Link {
        /// The manifest's file name.
        manifest: String,
        /// The line of the dependency.
        line: usize,
        /// The importer.
        component: String,
        /// What is wrong, and the fix.
        error: Box<LinkError>,
    },
    /// A component that a route or dependency needs does not offer what it needs.
    #[error("{manifest}:{line}: component `{component}` {message}\n  fix: {fix}")]
    Unfit {
        /// The manifest's file name.
        manifest: String,
        /// The line that needs it.
        line: usize,
        /// The component.
        component: String,
        /// What it lacks.
        message: String,
        /// What would fix it.
        fix: String,
    },
    /// A part of start-up was stopped.
    #[error("start-up was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}
