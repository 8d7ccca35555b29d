//! The administration API: HTTP with JSON, for inspecting and changing a running host.
//!
//! It is served on the control socket in the state folder (mode 0600: a user who may read the databases may also make
//! calls) and, with `--admin ADDRESS`, on a TCP listener, where it requires a token. `souk call`, `souk events` and all
//! other commands that talk to a running host are clients of this API, and so is the console; there is no other
//! protocol. The public listener serves none of it.
//!
//! | file | has |
//! |---|---|
//! | [`routes`] | every route, and the right that it needs |
//! | [`access`] | who sends a request: `Host`, `Origin`, token or session |
//! | [`serve`] | the two listeners and their bounds |
//! | [`answer`] | a request, from its right to its answer |
//! | [`traces`] | what requests did |
//! | [`call`], [`request`], [`messages`], [`facts`], [`map`] | what the routes do |
//! | [`console`] | the page in a browser |
//! | [`client`] | the API's client, for commands |

pub(crate) mod access;
pub(crate) mod answer;
pub mod call;
pub mod client;
mod console;
mod deployments;
pub mod examine;
mod facts;
mod limits;
mod map;
pub mod messages;
mod problem;
mod profile;
mod request;
pub(crate) mod right;
pub(crate) mod routes;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub mod traces;

use crate::app::App;
use crate::app::deploy::Reloaded;
use crate::http::Tls;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::telemetry::LogTail;
pub use client::RunningHost;
use futures::future::BoxFuture;
use http::StatusCode;
pub use problem::Problem;
use sessions::Sessions;
use souk_manifest::Application;
use souk_manifest::limits::FixedLimit;
use std::sync::Arc;
pub(crate) use tokens::Tokens;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    let parts =
        [serve::FIXED_LIMITS, limits::FIXED_LIMITS, answer::FIXED_LIMITS, sessions::FIXED_LIMITS, facts::FIXED_LIMITS];
    [
        parts.concat(),
        [
            traces::FIXED_LIMITS,
            request::FIXED_LIMITS,
            deployments::FIXED_LIMITS,
            profile::FIXED_LIMITS,
            examine::FIXED_LIMITS,
            access::FIXED_LIMITS,
        ]
        .concat(),
    ]
    .concat()
}

/// Reads the current manifest, and fetches what it names and is missing.
type ReadManifest = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<Application>> + Send + Sync>;

/// Reads the current manifest, and reloads the listeners' certificates.
pub(crate) struct Reload {
    pub(crate) manifest: ReadManifest,
    pub(crate) certificates: Vec<Tls>,
    /// Held from the reading of the manifest until it is applied: otherwise of two reloads the one that has read the
    /// older manifest could be applied last.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Admin {
    /// Applies the changes in the manifest and in the certificate files.
    ///
    /// # Errors
    /// When something in the manifest is wrong; then nothing changes.
    pub(crate) async fn reload(&self) -> Result<Reloaded, Problem> {
        let _turn = self.reload.turn.lock().await;
        let application = (self.reload.manifest)().await;
        let application = application.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error))?;
        let mut done = self.app.reload(&application).await?;
        self.readiness.renew(&self.app).await;
        for tls in &self.reload.certificates {
            match tls.reload() {
                Ok(()) => done.applied.push("the certificate".to_owned()),
                Err(error) => done.left.push(format!("the certificate: {error}")),
            }
        }
        for line in &done.left {
            tracing::warn!("reload: {line}");
        }
        for line in &done.applied {
            tracing::info!("reload: {line} applied");
        }
        Ok(done)
    }
}

/// The state behind the API.
pub struct Admin {
    pub(crate) app: Arc<App>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Sessions,
    pub(crate) log: LogTail,
    /// The address at which the application is served.
    pub(crate) url: String,
    /// The address at which the administration is served, besides the control socket.
    pub(crate) listener: Option<String>,
    pub(crate) started: Instant,
    /// Reads the current manifest and certificates.
    pub(crate) reload: Reload,
    /// Requests that change something; a drain waits for them.
    pub(crate) changes: TaskTracker,
}

impl Admin {
    /// The address of the console with a code for one sign-in; `None` without a listener for it.
    pub(crate) fn console_address(&self) -> Option<String> {
        let code = self.sessions.code().ok()?;
        self.listener.as_ref().map(|url| format!("{url}/#code={code}"))
    }
}
