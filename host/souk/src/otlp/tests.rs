//! Tests that the export sends what was measured, and that it counts what cannot be sent and blocks nothing.

use super::*;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, Registry};
use souk_bindings::trace::Tracer;

fn origin() -> Origin {
    Origin { resource: Resource::default(), scope: InstrumentationScope::default() }
}

#[test]
fn measures_are_sent_under_opentelemetrys_names_with_what_lies_between_two_bounds() {
    let registry = Registry::new();
    let opts = HistogramOpts::new("http_server_request_duration_seconds", "How long.").buckets(vec![0.1, 1.0]);
    let requests = HistogramVec::new(opts, &["http_request_method", "error_type", "souk_component"]).unwrap();
    registry.register(Box::new(requests.clone())).unwrap();
    [0.05, 0.5, 0.6, 3.0].iter().for_each(|took| requests.with_label_values(&["GET", "", "web"]).observe(*took));
    let lost = IntCounter::new("souk_log_lost_lines_total", "Lines.").unwrap();
    registry.register(Box::new(lost.clone())).unwrap();
    lost.inc();
    let request = measures::request(&origin(), &registry.gather(), Duration::from_secs(1), Duration::from_secs(2));
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let found = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{metrics:?}"));
    let requests = found("http.server.request.duration");
    let Some(Data::Histogram(histogram)) = &requests.data else { panic!("{requests:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((&*requests.unit, point.count, &point.bucket_counts[..]), ("s", 4, &[1, 2, 1][..]));
    assert_eq!(point.explicit_bounds, [0.1, 1.0]);
    let names: Vec<&str> = point.attributes.iter().map(|pair| &*pair.key).collect();
    assert_eq!(names, ["http.request.method", "souk.component"]);
    let Some(Data::Sum(sum)) = &found("souk.log_lost_lines").data else { panic!("{metrics:?}") };
    assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 1_000_000_000);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let (spans, waiting) = mpsc::channel(2);
    let queue = Queue { spans, bytes: Arc::default(), losses: Losses::default() };
    let tracer = Tracer::sampled(1.0, true);
    let pushing = queue.clone();
    tracer.send_to(Box::new(move |record| pushing.push(record)));
    let boundaries = souk_bindings::boundary::Boundaries::measured().unwrap().traced(tracer.clone());
    for _ in 0..5 {
        boundaries.deliveries("orders").open(&tracer.root(None)).close(None);
    }
    assert_eq!((waiting.len(), queue.losses.spans()), (2, 3));
    assert_eq!(queue.bytes.load(Ordering::Relaxed) % 2, 0);
}

#[tokio::test]
async fn what_a_component_printed_before_it_failed_is_not_sent() {
    let (spans, mut waiting) = mpsc::channel(2);
    let queue = Queue { spans, bytes: Arc::default(), losses: Losses::default() };
    let tracer = Tracer::sampled(1.0, true);
    let pushing = queue.clone();
    tracer.send_to(Box::new(move |record| pushing.push(record)));
    let boundaries = souk_bindings::boundary::Boundaries::measured().unwrap().traced(tracer.clone());
    let mut crossing = boundaries.deliveries("orders").open(&tracer.root(None));
    crossing.fails(|| "panicked: maria@shop.test".to_owned());
    crossing.close(Some("trapped"));
    let record = waiting.recv().await.unwrap();
    assert!(record.detail.as_deref().is_some_and(|detail| detail.contains("maria")), "{record:?}");
    let request = spans::request(&origin(), &[record]);
    let sent = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(sent.status.as_ref().unwrap().message, "trapped");
    assert!(!format!("{request:?}").contains("maria"), "{request:?}");
}
