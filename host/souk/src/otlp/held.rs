//! How much memory the waiting metrics and log records of components use. Encoded they are far shorter: a measurement
//! without values is 11 bytes and then 176, a count of a bucket one byte and then eight.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

/// The bytes of metrics in memory: their texts, which are a part of the encoded length, and everything around them.
pub(super) fn metrics(metrics: &ResourceMetrics) -> usize {
    let scopes: usize = metrics.scope_metrics.iter().map(of_scope).sum();
    metrics.encoded_len() + size_of::<ResourceMetrics>() + of_resource(metrics.resource.as_ref()) + scopes
}

/// The bytes of log records in memory.
pub(super) fn logs(logs: &ResourceLogs) -> usize {
    let record = |record: &LogRecord| size_of::<LogRecord>() + of_attributes(&record.attributes);
    let of_scope = |scope: &ScopeLogs| size_of::<ScopeLogs>() + scope.log_records.iter().map(record).sum::<usize>();
    let scopes: usize = logs.scope_logs.iter().map(of_scope).sum();
    logs.encoded_len() + size_of::<ResourceLogs>() + of_resource(logs.resource.as_ref()) + scopes
}

fn of_resource(resource: Option<&Resource>) -> usize {
    resource.map_or(0, |resource| of_attributes(&resource.attributes))
}

fn of_attributes(attributes: &[KeyValue]) -> usize {
    size_of_val(attributes)
}

fn of_scope(scope: &ScopeMetrics) -> usize {
    let attributes = scope.scope.as_ref().map_or(0, |scope| of_attributes(&scope.attributes));
    size_of::<ScopeMetrics>() + attributes + scope.metrics.iter().map(of_metric).sum::<usize>()
}

fn of_metric(metric: &Metric) -> usize {
    let points: usize = match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(of_number).sum(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(of_number).sum(),
        Some(Data::Histogram(histogram)) => histogram.data_points.iter().map(of_histogram).sum(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.iter().map(of_exponential).sum(),
        // Components have none.
        Some(Data::Summary(_)) | None => 0,
    };
    size_of::<Metric>() + points
}

fn of_number(point: &NumberDataPoint) -> usize {
    size_of::<NumberDataPoint>() + of_attributes(&point.attributes)
}

fn of_histogram(point: &HistogramDataPoint) -> usize {
    let buckets = size_of_val(point.bucket_counts.as_slice()) + size_of_val(point.explicit_bounds.as_slice());
    size_of::<HistogramDataPoint>() + of_attributes(&point.attributes) + buckets
}

fn of_exponential(point: &ExponentialHistogramDataPoint) -> usize {
    let both = [&point.positive, &point.negative].into_iter().flatten();
    let buckets: usize = both.map(|buckets| size_of_val(buckets.bucket_counts.as_slice())).sum();
    size_of::<ExponentialHistogramDataPoint>() + of_attributes(&point.attributes) + buckets
}
