//! What `/metrics` answers, in Prometheus' text format: what was measured at the boundaries, and what is so now.
//!
//! What is counted on the way of a call is counted where it happens ([`souk_bindings::boundary`]). What has a value at each
//! moment (instances, memory, connections, messages) is read when somebody asks ([`state`]), with one exception: how many
//! messages wait is asked of a disk or of NATS, so a task asks every [`STATS_INTERVAL`] and an answer has its last note.

mod state;

use crate::app::App;
use crate::otlp::Losses;
use crate::readiness::Readiness;
use crate::telemetry::LogLosses;
use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use souk_links::durable::Stats;
use state::Lost;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of measures.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How often it is asked how many messages wait, for the measures.
    const STATS_INTERVAL: Duration = Duration::from_secs(5);
    /// How long the answer may take.
    const STATS_TIMEOUT: Duration = Duration::from_secs(3);
}

/// The measures of an application.
pub struct Metrics {
    app: Arc<App>,
    readiness: Arc<Readiness>,
    losses: LogLosses,
    export_losses: Losses,
    messages: Arc<Mutex<Option<Stats>>>,
    _asker: AbortOnDropHandle<()>,
}

impl Metrics {
    /// Begins to measure what is not counted where it happens.
    pub fn start(app: &Arc<App>, readiness: &Arc<Readiness>, losses: LogLosses) -> Self {
        let messages: Arc<Mutex<Option<Stats>>> = Arc::default();
        let asker = tokio::spawn(ask(app.clone(), messages.clone()));
        Metrics {
            app: app.clone(),
            readiness: readiness.clone(),
            losses,
            export_losses: Losses::default(),
            messages,
            _asker: AbortOnDropHandle::new(asker),
        }
    }

    /// How many messages of durable links wait, as last asked; `None` where there are none.
    pub(crate) fn messages(&self) -> Option<Stats> {
        *self.messages.lock()
    }

    /// Where it is counted how many spans a collector did not get.
    pub(crate) fn export_losses(&self) -> &Losses {
        &self.export_losses
    }

    /// The text.
    ///
    /// # Errors
    /// When two measures have one name, which is a mistake in the host.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather()?)
    }

    /// Everything as it is now.
    ///
    /// # Errors
    /// As [`Metrics::text`].
    pub(crate) fn gather(&self) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let mut families = self.app.boundaries().registry().map(prometheus::Registry::gather).unwrap_or_default();
        let lost = Lost { lines: self.losses.lines(), spans: self.export_losses.spans() };
        families.extend(state::gather(&self.app, &self.readiness, self.messages(), lost)?);
        Ok(families)
    }
}

/// Asks how many messages wait, again and again.
async fn ask(app: Arc<App>, messages: Arc<Mutex<Option<Stats>>>) {
    let Some(queue) = app.queue() else { return };
    loop {
        let stats = tokio::time::timeout(STATS_TIMEOUT, queue.stats()).await;
        *messages.lock() = stats.ok().and_then(Result::ok);
        tokio::time::sleep(STATS_INTERVAL).await;
    }
}
