//! Converts the metrics of `/metrics` to OTLP: the same values under OpenTelemetry's names.
//!
//! OpenTelemetry's names cannot be derived from Prometheus' (`http_request_method` is `http.request.method`, but
//! `souk_callers_waiting` never had dots). So [`NAMES`] and [`LABELS`] list the names that OpenTelemetry defines; all
//! others are the host's own and are the same in both systems.

use super::config::text;
use super::origin::Origin;
use super::spans::nanos;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use prometheus::proto::{self, MetricFamily, MetricType};
use std::time::Duration;

/// Metrics that OpenTelemetry names, without the suffix that Prometheus adds for the unit.
const NAMES: [(&str, &str); 9] = [
    ("http_server_request_duration", "http.server.request.duration"),
    ("http_client_request_duration", "http.client.request.duration"),
    ("rpc_server_call_duration", "rpc.server.call.duration"),
    ("rpc_client_call_duration", "rpc.client.call.duration"),
    ("db_client_operation_duration", "db.client.operation.duration"),
    ("messaging_client_operation_duration", "messaging.client.operation.duration"),
    ("messaging_process_duration", "messaging.process.duration"),
    ("db_client_connection_count", "db.client.connection.count"),
    ("db_client_connection_max", "db.client.connection.max"),
];

/// Labels that OpenTelemetry names. The host's own labels only have a dot after `souk`.
const LABELS: [(&str, &str); 9] = [
    ("http_request_method", "http.request.method"),
    ("http_response_status_code", "http.response.status_code"),
    ("http_route", "http.route"),
    ("error_type", "error.type"),
    ("rpc_method", "rpc.method"),
    ("db_system_name", "db.system.name"),
    ("db_namespace", "db.namespace"),
    ("db_client_connection_pool_name", "db.client.connection.pool.name"),
    ("db_client_connection_state", "db.client.connection.state"),
];

/// The request to the collector for these metrics, which were counted from `since` until `now`.
pub(super) fn request(
    origin: &Origin,
    families: &[MetricFamily],
    since: Duration,
    now: Duration,
) -> ExportMetricsServiceRequest {
    let times = (nanos(since), nanos(now));
    let metrics = families.iter().filter_map(|family| metric(family, times)).collect();
    let scope = ScopeMetrics { scope: Some(origin.scope.clone()), metrics, ..ScopeMetrics::default() };
    let resource = ResourceMetrics {
        resource: Some(origin.resource.clone()),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn metric(family: &MetricFamily, times: (u64, u64)) -> Option<Metric> {
    let points = family.get_metric();
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::HISTOGRAM => metric::Data::Histogram(Histogram {
            data_points: points.iter().map(|point| histogram(point, times)).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::COUNTER => metric::Data::Sum(Sum {
            data_points: points.iter().map(|point| number(point, point.get_counter().get_value(), times)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => metric::Data::Gauge(Gauge {
            data_points: points.iter().map(|point| number(point, point.get_gauge().get_value(), times)).collect(),
        }),
        // The host has no metrics of other types.
        _ => return None,
    };
    let (name, unit) = named(family.name());
    Some(Metric { name, unit, description: family.help().to_owned(), data: Some(data), ..Metric::default() })
}

/// The name without Prometheus' suffixes, and the unit that a suffix stood for.
fn named(name: &str) -> (String, String) {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let (name, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
        (Some(name), _) => (name, "s"),
        (None, Some(name)) => (name, "By"),
        (None, None) => (name, ""),
    };
    let own = || name.replacen("souk_", "souk.", 1);
    let known = NAMES.iter().find(|(theirs, _)| *theirs == name).map(|(_, name)| (*name).to_owned());
    (known.unwrap_or_else(own), unit.to_owned())
}

fn labels(point: &proto::Metric) -> Vec<KeyValue> {
    // An empty label means no label, in Prometheus too.
    let labels = point.get_label().iter().filter(|label| !label.value().is_empty());
    let known = |label: &str| LABELS.iter().find(|(theirs, _)| *theirs == label).map(|(_, name)| (*name).to_owned());
    let pair = |label: &proto::LabelPair| {
        text(known(label.name()).unwrap_or_else(|| label.name().replacen("souk_", "souk.", 1)), label.value())
    };
    labels.map(pair).collect()
}

fn number(point: &proto::Metric, value: f64, (since, now): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(point),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// Prometheus counts the values up to each bound, OTLP the values between two bounds.
fn histogram(point: &proto::Metric, (since, now): (u64, u64)) -> HistogramDataPoint {
    let histogram = point.get_histogram();
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        bounds.push(bucket.upper_bound());
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    HistogramDataPoint {
        attributes: labels(point),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}
