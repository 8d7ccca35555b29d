//! Exports traces and metrics by OTLP (HTTP with protobuf) to the collector that the environment names.
//!
//! OpenTelemetry's own variables configure it ([`config`]), as in other programs. The host converts its own records
//! ([`spans`], [`measures`]) to opentelemetry-proto's types and does not use OpenTelemetry's SDK: the SDK would keep a
//! second copy of each span and metric, and cannot export metrics that were counted elsewhere.
//!
//! **Nothing waits for a collector.** A span that ends goes into a bounded queue. If the queue is full, the span is
//! dropped and counted (`souk_export_lost_spans_total`). One task per signal sends, retries a few times ([`send`]), and
//! drops what cannot be sent. Without a collector in the environment there is no queue, no task and no client.
//!
//! It never exports the values of arguments, which only the administration's token `full` shows.

mod config;
mod guests;
mod held;
mod measures;
pub(crate) mod origin;
mod send;
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use config::Config;
pub(crate) use origin::Losses;

use crate::metrics::Metrics;
use config::Signal;
use guests::GuestExport;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use origin::{MAX_QUEUED_BYTES, Origin};
use send::Sender;
use souk_bindings::boundary::Boundaries;
use souk_bindings::trace::Record;
use souk_manifest::limits::FixedLimit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of the export.
    const FIXED_LIMITS = "export of traces and metrics";

    /// The most spans that wait for the collector; more are dropped and counted.
    const MAX_QUEUED_SPANS: usize = 4_096, "spans";
    /// The most spans in one request to the collector.
    const MAX_BATCH_SPANS: usize = 512, "spans";
    /// How long a stopping host continues to send what is left.
    const END_TIMEOUT: Duration = Duration::from_secs(3);
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, origin::FIXED_LIMITS, config::FIXED_LIMITS, guests::FIXED_LIMITS, send::FIXED_LIMITS].concat()
}

/// The waiting spans, limited in number and bytes.
#[derive(Clone)]
struct Queue {
    spans: mpsc::Sender<Arc<Record>>,
    bytes: Arc<AtomicUsize>,
    losses: Losses,
}

impl Queue {
    fn push(&self, record: &Arc<Record>) {
        let bytes = record.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_QUEUED_BYTES || self.spans.try_send(record.clone()).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.losses.add(1);
        }
    }
}

/// The export of one host; empty when the environment names no collector.
pub(crate) struct Export {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Export {
    /// Starts to send what `config` asks for: the spans of `boundaries`, the metrics of `metrics`, and what components
    /// record.
    ///
    /// # Errors
    /// When no HTTPS client can be created.
    pub(crate) fn start(config: Config, boundaries: &Boundaries, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let tracer = boundaries.tracer();
        let Config { traces, metrics: measured, logs, resource, delay, interval } = config;
        let scope = InstrumentationScope {
            name: "souk".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let origin = Origin { resource, scope };
        if let Some(signal) = traces.filter(|_| tracer.is_on()) {
            let (spans, waiting) = mpsc::channel(MAX_QUEUED_SPANS);
            let queue = Queue { spans, bytes: Arc::default(), losses: metrics.export_losses().clone() };
            let export = SpanExport { sender: Sender::new(signal)?, origin: origin.clone(), queue: queue.clone() };
            tracer.send_to(Box::new(move |record| queue.push(record)));
            tasks.push(tokio::spawn(export.run(waiting, delay, stop.clone())));
        }
        if measured.is_some() || logs.is_some() {
            let sender = |signal: Option<Signal>| signal.map(Sender::new).transpose();
            let (measured, logs) = (sender(measured.clone())?, sender(logs)?);
            let losses = metrics.export_losses().clone();
            let export = GuestExport::new(boundaries.telemetry(), measured, logs, origin.clone(), losses);
            tasks.push(tokio::spawn(export.run(delay, stop.clone())));
        }
        if let Some(signal) = measured {
            let sender = Sender::new(signal)?;
            tasks.push(tokio::spawn(export_metrics(sender, origin, metrics.clone(), interval, stop.clone())));
        }
        Ok(Export { stop, tasks })
    }

    /// Sends what is left, for a limited time, and ends.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        let all = futures::future::join_all(self.tasks);
        if timeout(END_TIMEOUT, all).await.is_err() {
            tracing::warn!("the collector did not accept the last traces and metrics in time");
        }
    }
}

struct SpanExport {
    sender: Sender,
    origin: Origin,
    queue: Queue,
}

impl SpanExport {
    /// Sends a batch when it is full, or `delay` after its first span.
    async fn run(self, mut waiting: mpsc::Receiver<Arc<Record>>, delay: Duration, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                taken = waiting.recv_many(&mut batch, MAX_BATCH_SPANS) => taken == 0,
            };
            if stopped {
                break;
            }
            let fill = async {
                while batch.len() < MAX_BATCH_SPANS {
                    let room = MAX_BATCH_SPANS - batch.len();
                    if waiting.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = timeout(delay, fill) => {}
            }
            self.send(&mut batch).await;
        }
        // Spans that ended before the host did.
        while waiting.try_recv().map(|record| batch.push(record)).is_ok() {
            if batch.len() >= MAX_BATCH_SPANS {
                self.send(&mut batch).await;
            }
        }
        self.send(&mut batch).await;
    }

    async fn send(&self, batch: &mut Vec<Arc<Record>>) {
        if batch.is_empty() {
            return;
        }
        let sent = self.sender.send(spans::request(&self.origin, batch)).await;
        if !sent {
            self.queue.losses.add(batch.len());
        }
        let bytes = batch.drain(..).map(|record| record.bytes()).sum();
        self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Sends all metrics every `interval`, and once more at the end.
async fn export_metrics(
    sender: Sender,
    origin: Origin,
    metrics: Arc<Metrics>,
    interval: Duration,
    stop: CancellationToken,
) {
    let since = souk_manifest::clock::since_epoch();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        match metrics.gather() {
            Ok(families) => {
                let request = measures::request(&origin, &families, since, souk_manifest::clock::since_epoch());
                sender.send(request).await;
            }
            Err(error) => tracing::error!("the metrics cannot be exported: {error}"),
        }
        if last {
            return;
        }
    }
}
