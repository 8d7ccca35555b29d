//! The last traces, for the administration API.
//!
//! The spans of a trace arrive when they end, possibly long after the first one: a delivery may be retried for hours.
//! So the ring groups spans by trace, and drops the oldest trace first, with all its spans.

use super::ids::{SpanId, TraceId};
use super::record::Record;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of traces.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The most traces that are kept for the administration API.
    pub(super) const MAX_TRACES: usize = 1_000, "traces";
    /// The most spans of one trace that are kept there: a client can give all of its requests the same trace id.
    pub(super) const MAX_TRACE_SPANS: usize = 1_000, "spans";
    /// The most memory that all traces use there.
    pub(super) const MAX_TRACE_MEMORY_BYTES: usize = 16 << 20, bytes;
}

/// How many spans a trace usually has.
const USUAL_SPANS: usize = 8;

/// A filter for traces; all fields that are set must match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Traces with a span in this component.
    pub component: Option<String>,
    /// Traces with a request of this route.
    pub route: Option<String>,
    /// Only traces with an error.
    pub errors: bool,
    /// Traces that took at least this long.
    pub slower_than: Option<Duration>,
}

/// A trace in a list.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its id.
    pub trace: TraceId,
    /// When its first span began, since 1970.
    pub start: Duration,
    /// The duration of the first span on this host.
    pub duration: Duration,
    /// The name of that span.
    pub name: Arc<str>,
    /// The component of that span.
    pub component: Arc<str>,
    /// The kind of the outermost failure in it.
    pub error: Option<Box<str>>,
    /// The number of its spans.
    pub spans: usize,
}

/// A trace with its spans, in the order of their beginnings.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub trace: TraceId,
    /// The spans that are kept.
    pub spans: Vec<Arc<Record>>,
    /// The number of further spans, which were not kept.
    pub lost: u64,
}

#[derive(Default)]
pub(super) struct Ring(Mutex<Traces>);

#[derive(Default)]
struct Traces {
    traces: HashMap<TraceId, Spans, Keyed>,
    /// The traces in the order in which they arrived.
    order: VecDeque<TraceId>,
    bytes: usize,
}

struct Spans {
    records: Vec<Arc<Record>>,
    bytes: usize,
    lost: u64,
}

/// Hashes trace ids in a few instructions: each span that ends looks for its trace. Clients choose some of the ids, so two
/// numbers that no client knows take part.
#[derive(Clone)]
pub(super) struct Keyed(u64, u64);

impl Default for Keyed {
    fn default() -> Self {
        Keyed(souk_manifest::clock::seed(), souk_manifest::clock::seed())
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { key: self.clone(), hash: 0 }
    }
}

pub(super) struct KeyedHasher {
    key: Keyed,
    hash: u64,
}

impl Hasher for KeyedHasher {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
    fn write_u128(&mut self, id: u128) {
        let product = u128::from((id >> 64) as u64 ^ self.key.0) * u128::from(id as u64 ^ self.key.1);
        self.hash ^= (product >> 64) as u64 ^ product as u64;
    }

    /// For the trait; ids are numbers.
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128((*byte).into()));
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl Ring {
    /// Keeps a span; `false` when its trace has too many, or too large ones.
    pub(super) fn push(&self, record: Arc<Record>) -> bool {
        let (trace, bytes) = (record.trace, record.bytes());
        let mut dropped = None;
        let mut kept = self.0.lock();
        let Traces { traces, order, bytes: all } = &mut *kept;
        let spans = traces.entry(trace).or_insert_with(|| {
            order.push_back(trace);
            Spans { records: Vec::with_capacity(USUAL_SPANS), bytes: 0, lost: 0 }
        });
        // The newest trace is never dropped, so it alone must fit.
        if spans.records.len() >= MAX_TRACE_SPANS || spans.bytes + bytes > MAX_TRACE_MEMORY_BYTES {
            spans.lost += 1;
            return false;
        }
        spans.records.push(record);
        spans.bytes += bytes;
        *all += bytes;
        while (*all > MAX_TRACE_MEMORY_BYTES || order.len() > MAX_TRACES) && order.len() > 1 {
            let Some(oldest) = order.pop_front().and_then(|trace| traces.remove(&trace)) else { break };
            *all -= oldest.bytes;
            // The last one is freed without the lock, and there is usually one.
            dropped = Some(oldest);
        }
        drop(kept);
        drop(dropped);
        true
    }

    /// The traces that match, the newest first, at most `most`.
    pub(super) fn list(&self, filter: &Filter, most: usize) -> Vec<Summary> {
        let kept = self.0.lock();
        let newest = kept.order.iter().rev().filter_map(|trace| kept.traces.get(trace));
        newest.filter_map(|spans| summary(&spans.records, filter)).take(most).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Trace> {
        let kept = self.0.lock();
        let by_request = || {
            let of_request = |spans: &Spans| spans.records.iter().any(|r| r.text("souk.request.id") == Some(id));
            kept.order.iter().rev().copied().find(|trace| kept.traces.get(trace).is_some_and(of_request))
        };
        let trace = TraceId::parse(id).filter(|trace| kept.traces.contains_key(trace)).or_else(by_request)?;
        let spans = kept.traces.get(&trace)?;
        let (mut found, lost) = (spans.records.clone(), spans.lost);
        drop(kept);
        found.sort_by_key(|record| record.start);
        Some(Trace { trace, spans: found, lost })
    }
}

/// The summary of a trace; `None` if it does not match the filter.
fn summary(spans: &[Arc<Record>], filter: &Filter) -> Option<Summary> {
    // The first span on this host has no parent, or one in another process. If there are several (a request, and a
    // later delivery from another host), the earliest counts.
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span).collect();
    let outer = |span: &&Arc<Record>| span.parent.is_none_or(|parent| !ids.contains(&parent));
    let first = spans.iter().filter(outer).min_by_key(|span| span.start)?;
    let failed = spans.iter().filter(|span| span.error.is_some()).min_by_key(|span| (!outer(span), span.start));
    let fits = filter.component.as_ref().is_none_or(|name| spans.iter().any(|span| *span.component == **name))
        && filter.route.as_ref().is_none_or(|route| spans.iter().any(|span| span.text("http.route") == Some(route)))
        && (!filter.errors || failed.is_some())
        && filter.slower_than.is_none_or(|least| first.duration >= least);
    fits.then(|| Summary {
        trace: first.trace,
        start: first.start,
        duration: first.duration,
        name: first.name.clone(),
        component: first.component.clone(),
        error: failed.and_then(|span| span.error.clone()),
        spans: spans.len(),
    })
}
