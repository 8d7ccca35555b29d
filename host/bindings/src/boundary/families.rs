//! The metrics of boundaries. Their names are those of OpenTelemetry's semantic conventions, as Prometheus writes them:
//! `http.server.request.duration` is `http_server_request_duration_seconds`. The HTTP, database and RPC names come from
//! version 1.45, where they are stable. The `messaging` names are still in development there. Names that begin with
//! `souk` are our own.
//!
//! We use the crate `prometheus` for three reasons. Its histograms are handles that are looked up once and then cost a
//! few atomic operations; OpenTelemetry's SDK looks its attributes up at each call. Its text format is the one that
//! Prometheus' own parser accepts; `prometheus-client` writes OpenMetrics only. And it gathers plain structures, which
//! an OTLP exporter only has to translate.

use crate::trace::{Kind, Statements};
use http::StatusCode;
use parking_lot::{Mutex, RwLock};
pub use prometheus::Registry;
use prometheus::core::Collector as _;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The label value for everything outside the fixed list.
pub(super) const OTHER: &str = "_OTHER";
/// The methods of RFC 9110 and 5789, and [`OTHER`] for all others.
pub(super) const METHODS: [&str; 10] =
    ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", OTHER];

/// Seconds, for requests: the buckets that the conventions recommend.
const REQUEST_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds, for operations inside the host: reading a row takes microseconds.
const CALL_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// A histogram for each combination of its labels.
pub(super) struct Family {
    vec: HistogramVec,
    /// Whether its first labels are a request's method and status.
    request: bool,
    crosses: CrossingKind,
    /// The names of its other labels.
    names: [&'static str; 3],
    live: Live,
}

/// The number of boundaries with the same labels.
type Live = Arc<Mutex<HashMap<[Arc<str>; 3], usize>>>;

/// The kind of operation that crosses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CrossingKind {
    Requests,
    Calls,
    Links,
    Operations,
    Outgoing,
    Stored,
    Deliveries,
}

/// All metrics.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) requests: Family,
    pub(super) calls: Family,
    pub(super) links: Family,
    pub(super) operations: Family,
    pub(super) outgoing: Family,
    pub(super) stored: Family,
    pub(super) deliveries: Family,
    pub(super) failures: IntCounterVec,
    pub(super) refusals: IntCounterVec,
}

impl Families {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let family = |name: &str, help: &str, buckets: &[f64], crosses: CrossingKind, labels: [&'static str; 3]| {
            let request = matches!(crosses, CrossingKind::Requests | CrossingKind::Outgoing);
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let own: &[&str] = match request {
                true => &["http_request_method", "http_response_status_code", "error_type"],
                false => &["error_type"],
            };
            let vec = HistogramVec::new(opts, &[own, &labels].concat())?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(Family { vec, request, crosses, names: labels, live: Live::default() })
        };
        let failures = Opts::new(
            "souk_component_failures_total",
            "Calls into a component that failed, for example refused, trapped or too late.",
        );
        let failures = IntCounterVec::new(failures, &["souk_component", "error_type"])?;
        registry.register(Box::new(failures.clone()))?;
        let refusals = Opts::new(
            "souk_http_refusals_total",
            "Connections and requests that were refused before they reached a component.",
        );
        let refusals = IntCounterVec::new(refusals, &["error_type"])?;
        registry.register(Box::new(refusals.clone()))?;
        Ok(Families {
            requests: family(
                "http_server_request_duration_seconds",
                "Duration of HTTP requests of clients, up to the response's head.",
                REQUEST_BUCKETS,
                CrossingKind::Requests,
                ["souk_component", "http_route", "souk_version"],
            )?,
            calls: family(
                "rpc_server_call_duration_seconds",
                "Duration of calls into a component, including the wait for an instance.",
                CALL_BUCKETS,
                CrossingKind::Calls,
                ["souk_component", "souk_version", "rpc_method"],
            )?,
            links: family(
                "rpc_client_call_duration_seconds",
                "Duration of calls over links, as the component that calls sees them.",
                CALL_BUCKETS,
                CrossingKind::Links,
                ["souk_component", "souk_target", "rpc_method"],
            )?,
            operations: family(
                "db_client_operation_duration_seconds",
                "Duration of statements and key-value operations.",
                CALL_BUCKETS,
                CrossingKind::Operations,
                ["souk_component", "db_system_name", "db_namespace"],
            )?,
            outgoing: family(
                "http_client_request_duration_seconds",
                "Duration of HTTP requests of components, up to the response's head.",
                REQUEST_BUCKETS,
                CrossingKind::Outgoing,
                ["souk_component", "souk_version", "souk_target"],
            )?,
            stored: family(
                "messaging_client_operation_duration_seconds",
                "Duration of storing a message of a durable link.",
                CALL_BUCKETS,
                CrossingKind::Stored,
                ["souk_component", "souk_target", "rpc_method"],
            )?,
            deliveries: family(
                "messaging_process_duration_seconds",
                "Duration of deliveries of messages; error_type says why a message was not delivered.",
                CALL_BUCKETS,
                CrossingKind::Deliveries,
                ["souk_component", "souk_version", "rpc_method"],
            )?,
            failures,
            refusals,
            registry,
        })
    }
}

impl Family {
    /// The metrics of one boundary.
    pub(super) fn metrics(&self, labels: [&str; 3]) -> BoundaryMetrics {
        let labels: [Arc<str>; 3] = labels.map(Arc::from);
        *self.live.lock().entry(labels.clone()).or_default() += 1;
        let (vec, crosses, names, live) = (self.vec.clone(), self.crosses, self.names, self.live.clone());
        let (good, span_name) = ((!self.request).then(OnceLock::new), span_name(crosses, &labels));
        let (answered, request_names) = Default::default();
        let [_, system, _] = &labels;
        let statements = Statements::of(system);
        BoundaryMetrics { vec, good, answered, labels, crosses, names, live, span_name, request_names, statements }
    }
}

/// The name of a span until a more exact one is known.
fn span_name(crosses: CrossingKind, [_, two, three]: &[Arc<str>; 3]) -> Arc<str> {
    match crosses {
        CrossingKind::Requests | CrossingKind::Outgoing => "HTTP".into(),
        CrossingKind::Calls | CrossingKind::Links => three.clone(),
        CrossingKind::Operations => two.clone(),
        CrossingKind::Stored => format!("store {three}").into(),
        CrossingKind::Deliveries => "deliver".into(),
    }
}

/// The metrics of one boundary.
pub(super) struct BoundaryMetrics {
    vec: HistogramVec,
    /// The histogram of operations without an error, created at the first one; `None` for requests, which method and
    /// status tell apart.
    good: Option<OnceLock<Histogram>>,
    /// The histograms of requests that got an answer, by the method's position and the status; as many as there are series.
    answered: RwLock<Vec<(usize, StatusCode, Histogram)>>,
    labels: [Arc<str>; 3],
    crosses: CrossingKind,
    names: [&'static str; 3],
    live: Live,
    span_name: Arc<str>,
    /// The names of spans of requests, by the method's position.
    request_names: [OnceLock<Arc<str>>; METHODS.len()],
    /// The statements that have crossed here.
    pub(super) statements: Statements,
}

/// The last of the boundaries with the same labels removes their series. Otherwise the series of old versions would
/// stay for ever, and each deployment would add more.
impl Drop for BoundaryMetrics {
    fn drop(&mut self) {
        let mut live = self.live.lock();
        let Some(left) = live.get_mut(&self.labels) else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        live.remove(&self.labels);
        // This runs under the lock: a boundary that is created at the same time creates its series again afterwards.
        for family in self.vec.collect() {
            for series in family.get_metric() {
                let all: HashMap<&str, &str> =
                    series.get_label().iter().map(|label| (label.name(), label.value())).collect();
                let mut own = self.names.iter().zip(&self.labels);
                if own.all(|(name, value)| all.get(name).is_some_and(|found| *found == &**value)) {
                    // This cannot fail: the series has just been read, and only this code removes series.
                    let _ = self.vec.remove(&all);
                }
            }
        }
    }
}

impl BoundaryMetrics {
    /// The kind of the spans that cross here.
    pub(super) fn kind(&self) -> Kind {
        match self.crosses {
            CrossingKind::Requests => Kind::Server,
            CrossingKind::Calls => Kind::Internal,
            CrossingKind::Links | CrossingKind::Operations | CrossingKind::Outgoing => Kind::Client,
            CrossingKind::Stored => Kind::Producer,
            CrossingKind::Deliveries => Kind::Consumer,
        }
    }

    /// The calling component; empty where only the call knows it.
    pub(super) fn component(&self) -> &Arc<str> {
        let [component, ..] = &self.labels;
        component
    }

    /// The span's name until a more exact one is known.
    pub(super) fn span_name(&self) -> &Arc<str> {
        &self.span_name
    }

    /// The name of a request's span.
    pub(super) fn request_name(&self, method: usize) -> Arc<str> {
        let named = || -> Arc<str> {
            let method = METHODS.get(method).copied().unwrap_or(OTHER);
            self.route().map_or_else(|| method.into(), |route| format!("{method} {route}").into())
        };
        self.request_names.get(method).map_or_else(named, |name| name.get_or_init(named).clone())
    }

    /// The route of a request of a client, if it has one.
    pub(super) fn route(&self) -> Option<&Arc<str>> {
        match (self.crosses, &self.labels) {
            (CrossingKind::Requests, [_, route, _]) if !route.is_empty() => Some(route),
            _ => None,
        }
    }

    pub(super) fn record(&self, error: Option<&'static str>, took: Duration) {
        let [one, two, three] = &self.labels;
        match (error, &self.good) {
            (None, Some(good)) => {
                let good = good.get_or_init(|| self.vec.with_label_values(&["", one, two, three]));
                good.observe(took.as_secs_f64());
            }
            (error, Some(_)) => {
                let labels = [error.unwrap_or_default(), one, two, three];
                self.vec.with_label_values(&labels).observe(took.as_secs_f64());
            }
            // A request without an answer.
            (error, None) => self.record_request(METHODS.len() - 1, Err(error.unwrap_or(OTHER)), took),
        }
    }

    /// Records a request by the position of its method, and its status or the reason why it has none.
    pub(super) fn record_request(&self, method: usize, outcome: Result<StatusCode, &'static str>, took: Duration) {
        let seconds = took.as_secs_f64();
        let known = outcome.ok().and_then(|status| {
            let answered = self.answered.read();
            let found = answered.iter().find(|(of, answer, _)| (*of, *answer) == (method, status));
            found.map(|(_, _, histogram)| histogram.observe(seconds))
        });
        if known.is_some() {
            return;
        }
        let [one, two, three] = &self.labels;
        // A guest may answer with any three digits.
        let is_known = |status: &StatusCode| status.canonical_reason().is_some();
        let (status, error) = match &outcome {
            Ok(status) if !is_known(status) => (OTHER, ""),
            Ok(status) if status.is_server_error() => (status.as_str(), status.as_str()),
            Ok(status) => (status.as_str(), ""),
            Err(error) => ("", *error),
        };
        let method_name = METHODS.get(method).copied().unwrap_or(OTHER);
        let histogram = self.vec.with_label_values(&[method_name, status, error, one, two, three]);
        histogram.observe(seconds);
        if let Some(status) = outcome.ok().filter(is_known) {
            let mut answered = self.answered.write();
            if !answered.iter().any(|(of, answer, _)| (*of, *answer) == (method, status)) {
                answered.push((method, status, histogram));
            }
        }
    }
}
