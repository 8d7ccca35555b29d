//! An OpenTelemetry collector: it receives OTLP over HTTP, decodes it with the types of opentelemetry-proto, and keeps
//! it. It shares no code with the host. OpenTelemetry's own collector can stand between the two.

use super::App;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use souk_test::opentelemetry_collector::OpenTelemetryCollector;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// The collector; it ends when it is dropped.
pub(crate) struct Collector {
    url: String,
    state: Arc<Mutex<CollectorState>>,
    server: JoinHandle<()>,
    /// What receives from the hosts in its place, and sends on to it.
    before: Option<OpenTelemetryCollector>,
}

#[derive(Default)]
struct CollectorState {
    spans: Vec<ReceivedSpan>,
    /// All exports of metrics so far, the oldest first.
    metrics: Vec<Vec<Metric>>,
    logs: Vec<LogRecord>,
    authorization: Option<String>,
    /// Whether the collector refuses requests now.
    down: bool,
}

/// A span, and the host that sent it.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedSpan {
    pub span: Span,
    pub service: String,
    pub instance: String,
}

impl ReceivedSpan {
    /// The text of an attribute; empty where it has none.
    pub(crate) fn attribute(&self, key: &str) -> String {
        attribute(&self.span.attributes, key)
    }
}

/// The text of an attribute; empty where it has none.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<CollectorState>> = Arc::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Collector { url, state, server, before: None }
    }

    /// A collector that gets what OpenTelemetry's own collector has received from the hosts, read and sent on.
    pub(crate) async fn behind_opentelemetrys() -> Collector {
        let mut collector = Collector::start().await;
        let url = collector.url.clone();
        let before = tokio::task::spawn_blocking(move || OpenTelemetryCollector::start(&url)).await.unwrap();
        collector.url = before.url();
        collector.before = Some(before);
        collector
    }

    /// What OpenTelemetry's own collector has logged.
    pub(crate) fn log(&self) -> String {
        self.before.as_ref().expect("it is there").log()
    }

    /// The application with this collector configured: its hosts export to it.
    pub(crate) fn of(&self, app: App) -> App {
        app.environment("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url)
            .environment("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector")
            .environment("OTEL_BSP_SCHEDULE_DELAY", "20")
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<ReceivedSpan> {
        self.state.lock().unwrap().spans.clone()
    }

    /// The `authorization` header of the last request.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.state.lock().unwrap().authorization.clone()
    }

    /// Lets the collector refuse every request, or accept them again.
    pub(crate) fn refuse(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// How many measurements the histogram of this name has in the last export.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let kept = self.state.lock().unwrap();
        let last = kept.metrics.last().expect("metrics");
        let found = last.iter().find(|metric| metric.name == name);
        match found.and_then(|metric| metric.data.as_ref()) {
            Some(metric::Data::Histogram(histogram)) => histogram.data_points.iter().map(|point| point.count).sum(),
            Some(other) => panic!("{name} is {other:?}"),
            None => 0,
        }
    }

    /// The latest metric of this name, from any host.
    pub(crate) fn metric(&self, name: &str) -> Option<Metric> {
        let kept = self.state.lock().unwrap();
        kept.metrics.iter().rev().flatten().find(|metric| metric.name == name).cloned()
    }

    /// All log records so far.
    pub(crate) fn logs(&self) -> Vec<LogRecord> {
        self.state.lock().unwrap().logs.clone()
    }

    /// How many exports of metrics came.
    pub(crate) fn metrics(&self) -> usize {
        self.state.lock().unwrap().metrics.len()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn accept(state: &Mutex<CollectorState>, headers: &HeaderMap) -> Result<(), StatusCode> {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut kept = state.lock().unwrap();
    kept.authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if kept.down { Err(StatusCode::BAD_REQUEST) } else { Ok(()) }
}

async fn traces(
    State(state): State<Arc<Mutex<CollectorState>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<&'static str, StatusCode> {
    accept(&state, &headers)?;
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.expect("a resource").attributes;
        let (service, instance) =
            (attribute(&attributes, "service.name"), attribute(&attributes, "service.instance.id"));
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let received = spans.map(|span| ReceivedSpan { span, service: service.clone(), instance: instance.clone() });
        state.lock().unwrap().spans.extend(received);
    }
    Ok("")
}

async fn metrics(
    State(state): State<Arc<Mutex<CollectorState>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<&'static str, StatusCode> {
    accept(&state, &headers)?;
    let request = ExportMetricsServiceRequest::decode(body).expect("a request of OTLP");
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let all = scopes.flat_map(|scope| scope.metrics).collect();
    state.lock().unwrap().metrics.push(all);
    Ok("")
}

async fn logs(
    State(state): State<Arc<Mutex<CollectorState>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<&'static str, StatusCode> {
    accept(&state, &headers)?;
    let request = ExportLogsServiceRequest::decode(body).expect("a request of OTLP");
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    state.lock().unwrap().logs.extend(scopes.flat_map(|scope| scope.log_records));
    Ok("")
}
