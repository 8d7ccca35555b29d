//! What the exports of all signals share: who sends, how much may wait, and how much was dropped.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

souk_manifest::fixed_limits! {
    /// The fixed limits of exports that wait.
    pub(super) const FIXED_LIMITS = "export of traces and metrics";

    /// The most memory that waiting spans use, and the most that metrics and log records of components use.
    pub(super) const MAX_QUEUED_BYTES: usize = 16 << 20, bytes;
}

/// Counts the spans that were dropped.
#[derive(Clone, Default)]
pub(crate) struct Losses(Arc<AtomicU64>);

impl Losses {
    /// How many spans have been dropped so far.
    pub(crate) fn spans(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `spans` more.
    pub(super) fn add(&self, spans: usize) {
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// The description of the sender in every request to the collector.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) resource: Resource,
    pub(super) scope: InstrumentationScope,
}
