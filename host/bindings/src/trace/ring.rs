//! The last traces, for the administration API.
//!
//! Spans of a trace come as they end, also long after its first: a delivery may be retried for hours. So they are found by
//! their trace, and the trace that began first is dropped first, whole.

use super::{Record, TraceId};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of traces.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The most traces that are kept for the administration API.
    pub(super) const MAX_TRACES: usize = 1_000, "traces";
    /// The most spans of one trace that are kept there: a client can give all of its requests the id of one.
    pub(super) const MAX_TRACE_SPANS: usize = 1_000, "spans";
    /// The most memory that all traces take there.
    const MAX_TRACE_MEMORY_BYTES: usize = 16 << 20, bytes;
    /// The most that is kept of one text of a span: a statement, an argument, why it failed.
    pub(super) const MAX_ATTRIBUTE_BYTES: usize = 4 << 10, bytes;
}

/// The traces that are asked for; those that have all that is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// With a span in this component.
    pub component: Option<String>,
    /// With a request of this route.
    pub route: Option<String>,
    /// With an error.
    pub errors: bool,
    /// That took this long at least.
    pub slower_than: Option<Duration>,
}

/// A trace in a list.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its id.
    pub trace: TraceId,
    /// When its first span began, since 1970.
    pub start: Duration,
    /// How long the span took with which it begins here.
    pub duration: Duration,
    /// What that span did.
    pub name: Box<str>,
    /// And where.
    pub component: Arc<str>,
    /// How something in it failed, the outermost first.
    pub error: Option<Box<str>>,
    /// How many spans there are.
    pub spans: usize,
}

/// A trace with its spans, in the order of their beginnings.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub trace: TraceId,
    /// What is kept of it.
    pub spans: Vec<Arc<Record>>,
    /// How many spans it had beyond those.
    pub lost: u64,
}

#[derive(Default)]
pub(super) struct Ring(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    traces: HashMap<TraceId, Spans>,
    /// In the order in which they came.
    order: VecDeque<TraceId>,
    bytes: usize,
}

#[derive(Default)]
struct Spans {
    records: Vec<Arc<Record>>,
    bytes: usize,
    lost: u64,
}

impl Ring {
    /// Keeps a span; `false` when its trace has too many.
    pub(super) fn push(&self, record: Arc<Record>) -> bool {
        let (trace, bytes) = (record.trace, record.bytes());
        let mut dropped = Vec::new();
        let mut kept = self.0.lock();
        let Kept { traces, order, bytes: all } = &mut *kept;
        let spans = traces.entry(trace).or_insert_with(|| {
            order.push_back(trace);
            Spans::default()
        });
        if spans.records.len() >= MAX_TRACE_SPANS {
            spans.lost += 1;
            return false;
        }
        spans.records.push(record);
        spans.bytes += bytes;
        *all += bytes;
        while (*all > MAX_TRACE_MEMORY_BYTES || order.len() > MAX_TRACES) && order.len() > 1 {
            let Some(oldest) = order.pop_front().and_then(|trace| traces.remove(&trace)) else { break };
            *all -= oldest.bytes;
            dropped.push(oldest);
        }
        drop(kept);
        drop(dropped);
        true
    }

    /// Those that fit, the newest first, `most` of them.
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

/// A trace on a line; `None` where it does not fit.
fn summary(spans: &[Arc<Record>], filter: &Filter) -> Option<Summary> {
    // Where it begins here, its parent is in another process or there is none; of several (a request and a later delivery
    // from another host), the first.
    let has = |id| spans.iter().any(|span| span.span == id);
    let outer = |span: &&Arc<Record>| span.parent.is_none_or(|parent| !has(parent));
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
