//! Exports what components themselves report to OpenTelemetry (`wasi:otel`): the metrics that they have aggregated, and
//! log records.
//!
//! Each resource names the component, in addition to the host's own attributes. The queue is limited in number and
//! bytes; what does not fit is dropped and counted with the spans.

use super::config::text;
use super::held;
use super::origin::{Losses, MAX_QUEUED_BYTES, Origin};
use super::send::Sender;
use super::spans::attribute as attribute_of;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord as Sent, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric as sent, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use souk_bindings::otel::{
    Datetime, GuestRecord, LogRecord, MAX_GUEST_ATTRIBUTES, MAX_GUEST_NAME_BYTES, metric, scalar, types,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of components' own telemetry.
    pub(super) const FIXED_LIMITS = "export of traces and metrics";

    /// The most metrics exports and log records of components that wait for the collector; more are dropped.
    const MAX_QUEUED_GUEST_RECORDS: usize = 1_024, "records";
    /// The most of these in one request to the collector.
    const MAX_BATCH_GUEST_RECORDS: usize = 128, "records";
}

/// A waiting item, in the form in which it will be sent.
enum Waiting {
    Metrics(Box<ResourceMetrics>),
    Log(Box<ResourceLogs>),
}

impl Waiting {
    /// The memory that it uses.
    fn bytes(&self) -> usize {
        match self {
            Waiting::Metrics(metrics) => held::metrics(metrics),
            Waiting::Log(log) => held::logs(log),
        }
    }
}

/// The end of the queue into which the components' records go.
struct Intake {
    origin: Origin,
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    losses: Losses,
    has_metrics: bool,
    has_logs: bool,
}

impl Intake {
    /// Takes the record; `false` when it was dropped and counted, because there is no room.
    fn take(&self, record: GuestRecord) -> bool {
        let item = match record {
            GuestRecord::Metrics { component, metrics } if self.has_metrics => {
                Waiting::Metrics(Box::new(resource_metrics(&self.origin, &component, metrics)))
            }
            GuestRecord::Log { component, log } if self.has_logs => {
                Waiting::Log(Box::new(resource_logs(&self.origin, &component, log)))
            }
            GuestRecord::Metrics { .. } | GuestRecord::Log { .. } => return true,
        };
        let size = item.bytes();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let taken = before.saturating_add(size) <= MAX_QUEUED_BYTES && self.queue.try_send(item).is_ok();
        if !taken {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.losses.add(1);
        }
        taken
    }
}

/// The senders of both signals; `None` for a signal that the environment does not send.
pub(super) struct GuestExport {
    pub(super) metrics: Option<Sender>,
    pub(super) logs: Option<Sender>,
    waiting: mpsc::Receiver<Waiting>,
    bytes: Arc<AtomicUsize>,
    losses: Losses,
}

impl GuestExport {
    /// Sends everything that `telemetry` receives from now on.
    pub(super) fn new(
        telemetry: &souk_bindings::otel::GuestTelemetry,
        metrics: Option<Sender>,
        logs: Option<Sender>,
        origin: Origin,
        losses: Losses,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_QUEUED_GUEST_RECORDS);
        let bytes = Arc::new(AtomicUsize::new(0));
        let (has_metrics, has_logs) = (metrics.is_some(), logs.is_some());
        let intake = Intake { origin, queue, bytes: bytes.clone(), losses: losses.clone(), has_metrics, has_logs };
        telemetry.send_to(Box::new(move |record| intake.take(record)));
        GuestExport { metrics, logs, waiting, bytes, losses }
    }

    /// Sends what has arrived, `delay` after its first item.
    pub(super) async fn run(mut self, delay: Duration, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                taken = self.waiting.recv_many(&mut batch, MAX_BATCH_GUEST_RECORDS) => taken == 0,
            };
            if !stopped {
                // More may arrive in the meantime; a stopping host does not wait for it.
                let _ = timeout(delay, stop.cancelled()).await;
            }
            while batch.len() < MAX_BATCH_GUEST_RECORDS
                && let Ok(item) = self.waiting.try_recv()
            {
                batch.push(item);
            }
            if batch.is_empty() && stopped {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    async fn send(&self, batch: Vec<Waiting>) {
        let bytes: usize = batch.iter().map(Waiting::bytes).sum();
        let (mut resource_metrics, mut resource_logs) = (Vec::new(), Vec::new());
        for item in batch {
            match item {
                Waiting::Metrics(metrics) => resource_metrics.push(*metrics),
                Waiting::Log(log) => resource_logs.push(*log),
            }
        }
        if let Some(sender) = self.metrics.as_ref().filter(|_| !resource_metrics.is_empty()) {
            let number = resource_metrics.len();
            if !sender.send(ExportMetricsServiceRequest { resource_metrics }).await {
                self.losses.add(number);
            }
        }
        if let Some(sender) = self.logs.as_ref().filter(|_| !resource_logs.is_empty()) {
            let number = resource_logs.len();
            if !sender.send(ExportLogsServiceRequest { resource_logs }).await {
                self.losses.add(number);
            }
        }
        // They are in memory for as long as a slow collector takes.
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The host's resource attributes and the component; then the guest's own attributes that the host does not set.
fn resource(origin: &Origin, component: &str, given: Option<types::Resource>) -> Resource {
    let mut resource = origin.resource.clone();
    resource.attributes.push(text("souk.component", component));
    for pair in given.map(|given| key_values(given.attributes)).unwrap_or_default() {
        if !resource.attributes.iter().any(|known| known.key == pair.key) {
            resource.attributes.push(pair);
        }
    }
    resource
}

fn key_value(mut pair: types::KeyValue) -> KeyValue {
    let end = pair.key.floor_char_boundary(MAX_GUEST_NAME_BYTES);
    pair.key.truncate(end);
    pair.key.shrink_to_fit();
    let value = match scalar(&pair.value) {
        Some(serde_json::Value::String(text)) => any_value::Value::StringValue(text),
        Some(serde_json::Value::Bool(yes)) => any_value::Value::BoolValue(yes),
        Some(serde_json::Value::Number(number)) => match number.as_i64() {
            Some(number) => any_value::Value::IntValue(number),
            None => any_value::Value::DoubleValue(number.as_f64().unwrap_or_default()),
        },
        _ => any_value::Value::StringValue(pair.value),
    };
    KeyValue { key: pair.key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A guest's attributes, up to the limit.
fn key_values(pairs: Vec<types::KeyValue>) -> Vec<KeyValue> {
    pairs.into_iter().take(MAX_GUEST_ATTRIBUTES).map(key_value).collect()
}

fn nanos(time: Datetime) -> u64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(time.nanoseconds))
}

fn resource_logs(origin: &Origin, component: &str, log: LogRecord) -> ResourceLogs {
    let LogRecord { time, severity, severity_text, body, attributes, trace, span } = log;
    let attributes = attributes.iter().map(|(name, value)| attribute_of(name, value)).collect();
    let record = Sent {
        time_unix_nano: time,
        observed_time_unix_nano: super::spans::nanos(souk_manifest::clock::since_epoch()),
        severity_number: i32::from(severity.min(24)),
        severity_text,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(body)) }),
        attributes,
        trace_id: trace,
        span_id: span,
        ..Sent::default()
    };
    let scope = ScopeLogs { scope: Some(origin.scope.clone()), log_records: vec![record], ..ScopeLogs::default() };
    ResourceLogs {
        resource: Some(resource(origin, component, None)),
        scope_logs: vec![scope],
        ..ResourceLogs::default()
    }
}

fn resource_metrics(origin: &Origin, component: &str, metrics: metric::ResourceMetrics) -> ResourceMetrics {
    let scopes = metrics.scope_metrics.into_iter().map(|scope| ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: scope.scope.name,
            version: scope.scope.version.unwrap_or_default(),
            attributes: key_values(scope.scope.attributes),
            ..InstrumentationScope::default()
        }),
        metrics: scope.metrics.into_iter().map(metric_of).collect(),
        schema_url: scope.scope.schema_url.unwrap_or_default(),
    });
    ResourceMetrics {
        scope_metrics: scopes.collect(),
        resource: Some(resource(origin, component, Some(metrics.resource))),
        ..ResourceMetrics::default()
    }
}

fn metric_of(metric: metric::Metric) -> Metric {
    use metric::MetricData as Data;
    let data = match metric.data {
        Data::F64Gauge(gauge) | Data::U64Gauge(gauge) | Data::S64Gauge(gauge) => sent::Data::Gauge(gauge_of(gauge)),
        Data::F64Sum(sum) | Data::U64Sum(sum) | Data::S64Sum(sum) => sent::Data::Sum(sum_of(sum)),
        Data::F64Histogram(histogram) | Data::U64Histogram(histogram) | Data::S64Histogram(histogram) => {
            sent::Data::Histogram(histogram_of(histogram))
        }
        Data::F64ExponentialHistogram(histogram)
        | Data::U64ExponentialHistogram(histogram)
        | Data::S64ExponentialHistogram(histogram) => sent::Data::ExponentialHistogram(exponential_of(histogram)),
    };
    Metric {
        name: metric.name,
        description: metric.description,
        unit: metric.unit,
        data: Some(data),
        ..Metric::default()
    }
}

fn temporality(temporality: metric::Temporality) -> i32 {
    match temporality {
        metric::Temporality::Cumulative => AggregationTemporality::Cumulative,
        metric::Temporality::Delta | metric::Temporality::LowMemory => AggregationTemporality::Delta,
    }
    .into()
}

fn number(number: metric::MetricNumber) -> number_data_point::Value {
    match number {
        metric::MetricNumber::F64(number) => number_data_point::Value::AsDouble(number),
        metric::MetricNumber::S64(number) => number_data_point::Value::AsInt(number),
        metric::MetricNumber::U64(number) => number_data_point::Value::AsInt(i64::try_from(number).unwrap_or(i64::MAX)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "OTLP has floating point there")]
fn double(number: metric::MetricNumber) -> f64 {
    match number {
        metric::MetricNumber::F64(number) => number,
        metric::MetricNumber::S64(number) => number as f64,
        metric::MetricNumber::U64(number) => number as f64,
    }
}

fn number_point(
    attributes: Vec<types::KeyValue>,
    start: u64,
    time: u64,
    value: metric::MetricNumber,
) -> NumberDataPoint {
    NumberDataPoint {
        attributes: key_values(attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number(value)),
        ..NumberDataPoint::default()
    }
}

fn gauge_of(gauge: metric::Gauge) -> Gauge {
    let (start, time) = (gauge.start_time.map_or(0, nanos), nanos(gauge.time));
    let points = gauge.data_points.into_iter().map(|point| number_point(point.attributes, start, time, point.value));
    Gauge { data_points: points.collect() }
}

fn sum_of(sum: metric::Sum) -> Sum {
    let (start, time) = (nanos(sum.start_time), nanos(sum.time));
    let points = sum.data_points.into_iter().map(|point| number_point(point.attributes, start, time, point.value));
    Sum {
        data_points: points.collect(),
        aggregation_temporality: temporality(sum.temporality),
        is_monotonic: sum.is_monotonic,
    }
}

fn histogram_of(histogram: metric::Histogram) -> Histogram {
    let (start, time) = (nanos(histogram.start_time), nanos(histogram.time));
    let points = histogram.data_points.into_iter().map(|point| HistogramDataPoint {
        attributes: key_values(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(double(point.sum)),
        bucket_counts: point.bucket_counts,
        explicit_bounds: point.bounds,
        min: point.min.map(double),
        max: point.max.map(double),
        ..HistogramDataPoint::default()
    });
    Histogram { data_points: points.collect(), aggregation_temporality: temporality(histogram.temporality) }
}

fn exponential_of(histogram: metric::ExponentialHistogram) -> ExponentialHistogram {
    let (start, time) = (nanos(histogram.start_time), nanos(histogram.time));
    let buckets = |bucket: metric::ExponentialBucket| Buckets { offset: bucket.offset, bucket_counts: bucket.counts };
    let points = histogram.data_points.into_iter().map(|point| ExponentialHistogramDataPoint {
        attributes: key_values(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(double(point.sum)),
        scale: i32::from(point.scale),
        zero_count: point.zero_count,
        positive: Some(buckets(point.positive_bucket)),
        negative: Some(buckets(point.negative_bucket)),
        min: point.min.map(double),
        max: point.max.map(double),
        zero_threshold: point.zero_threshold,
        ..ExponentialHistogramDataPoint::default()
    });
    ExponentialHistogram { data_points: points.collect(), aggregation_temporality: temporality(histogram.temporality) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { resource: Resource::default(), scope: InstrumentationScope::default() }
    }

    fn export(resource: Vec<types::KeyValue>, data: metric::MetricData) -> metric::ResourceMetrics {
        let text = String::new;
        let metric = metric::Metric { name: text(), description: text(), unit: text(), data };
        let scope =
            types::InstrumentationScope { name: text(), version: None, schema_url: None, attributes: Vec::new() };
        metric::ResourceMetrics {
            resource: types::Resource { attributes: resource, schema_url: None },
            scope_metrics: vec![metric::ScopeMetrics { scope, metrics: vec![metric] }],
        }
    }

    fn time() -> Datetime {
        Datetime { seconds: 0, nanoseconds: 0 }
    }

    fn histogram(attributes: &[types::KeyValue], points: usize) -> metric::MetricData {
        let point = || metric::HistogramDataPoint {
            attributes: attributes.to_vec(),
            count: 0,
            bounds: Vec::new(),
            bucket_counts: Vec::new(),
            min: None,
            max: None,
            sum: metric::MetricNumber::U64(0),
            exemplars: Vec::new(),
        };
        metric::MetricData::U64Histogram(metric::Histogram {
            data_points: (0..points).map(|_| point()).collect(),
            start_time: time(),
            time: time(),
            temporality: metric::Temporality::Cumulative,
        })
    }

    #[test]
    fn attributes_of_metrics_are_bounded_as_those_of_spans() {
        let pair = |n: usize| types::KeyValue { key: format!("k{n}"), value: "1".to_owned() };
        let mut many: Vec<_> = (0..300_000).map(pair).collect();
        many[0].key = "k".repeat(1_000);
        let data = histogram(&many, 1);
        let sent = resource_metrics(&origin(), "web", export(many, data));
        let attributes = sent.resource.unwrap().attributes;
        assert_eq!(attributes.len(), MAX_GUEST_ATTRIBUTES + 1, "and the component");
        assert!(attributes.iter().all(|pair| pair.key.len() <= MAX_GUEST_NAME_BYTES));
        let Some(sent::Data::Histogram(sent)) = &sent.scope_metrics[0].metrics[0].data else { panic!("no histogram") };
        assert_eq!(sent.data_points[0].attributes.len(), MAX_GUEST_ATTRIBUTES);
    }

    #[test]
    fn what_waits_counts_as_much_as_it_uses() {
        let (queue, _waiting) = mpsc::channel(MAX_QUEUED_GUEST_RECORDS);
        let (bytes, losses) = (Arc::default(), Losses::default());
        let intake = Intake { origin: origin(), queue, bytes, losses, has_metrics: true, has_logs: false };
        let take =
            |data| intake.take(GuestRecord::Metrics { component: "web".into(), metrics: export(Vec::new(), data) });
        let mut points = 0;
        while take(histogram(&[], 10_000)) {
            points += 10_000;
        }
        assert!(points > 0 && points * size_of::<HistogramDataPoint>() <= MAX_QUEUED_BYTES, "{points}");
        assert_eq!(intake.losses.spans(), 1);
        let bucket = |count: usize| metric::ExponentialBucket { offset: 0, counts: vec![0; count] };
        let point = metric::ExponentialHistogramDataPoint {
            attributes: Vec::new(),
            count: 0,
            min: None,
            max: None,
            sum: metric::MetricNumber::U64(0),
            scale: 0,
            zero_count: 0,
            positive_bucket: bucket(1_000_000),
            negative_bucket: bucket(1),
            zero_threshold: 0.0,
            exemplars: Vec::new(),
        };
        let data = metric::MetricData::U64ExponentialHistogram(metric::ExponentialHistogram {
            data_points: vec![point],
            start_time: time(),
            time: time(),
            temporality: metric::Temporality::Cumulative,
        });
        let waiting = Waiting::Metrics(Box::new(resource_metrics(&origin(), "web", export(Vec::new(), data))));
        assert!(waiting.bytes() >= 8_000_000, "{}", waiting.bytes());
    }
}
