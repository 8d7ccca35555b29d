//! What `/metrics` answers, in Prometheus' text format: measurements from the boundaries, and current values.
//!
//! Calls are measured where they happen ([`souk_bindings::boundary`]). Current values (instances, memory, connections,
//! messages) are read for each answer ([`state`]), with one exception: counting waiting messages needs the disk or
//! NATS, so a task counts them every [`STATS_INTERVAL`] and an answer has the last count. If that fails, the numbers
//! are left out, because the last ones may be wrong by now, and `souk_messages_known` is 0: an alert on a number that
//! is missing would be silent.

mod state;

use crate::app::App;
use crate::otlp::origin::Losses;
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
    /// The fixed limits of metrics.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How often waiting messages are counted for the metrics.
    const STATS_INTERVAL: Duration = Duration::from_secs(5);
    /// How long such a count may take.
    const STATS_TIMEOUT: Duration = Duration::from_secs(3);
}

/// The metrics of an application.
pub struct Metrics {
    app: Arc<App>,
    readiness: Arc<Readiness>,
    losses: LogLosses,
    export_losses: Losses,
    messages: Arc<Mutex<Option<Stats>>>,
    _counting: AbortOnDropHandle<()>,
}

impl Metrics {
    /// Starts to measure what is not counted where it happens.
    pub fn start(app: &Arc<App>, readiness: &Arc<Readiness>, losses: LogLosses) -> Self {
        let messages: Arc<Mutex<Option<Stats>>> = Arc::default();
        let counting = tokio::spawn(count_messages(app.clone(), messages.clone()));
        Metrics {
            app: app.clone(),
            readiness: readiness.clone(),
            losses,
            export_losses: Losses::default(),
            messages,
            _counting: AbortOnDropHandle::new(counting),
        }
    }

    /// The last count of waiting messages of durable links; `None` if there are no durable links, or if it failed.
    pub(crate) fn messages(&self) -> Option<Stats> {
        *self.messages.lock()
    }

    /// The counter of spans that a collector did not get.
    pub(crate) fn export_losses(&self) -> &Losses {
        &self.export_losses
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// When two metrics have the same name, which is a mistake in the host.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather()?)
    }

    /// All metrics with their current values.
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

/// Counts the waiting messages at intervals.
async fn count_messages(app: Arc<App>, messages: Arc<Mutex<Option<Stats>>>) {
    loop {
        // A reload may open or close it.
        let stats = match app.queue() {
            Some(queue) => tokio::time::timeout(STATS_TIMEOUT, queue.stats()).await.ok().and_then(Result::ok),
            None => None,
        };
        *messages.lock() = stats;
        tokio::time::sleep(STATS_INTERVAL).await;
    }
}
