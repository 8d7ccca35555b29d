//! Traces: the work of a request as one tree of spans, across all components and hosts that it passed.
//!
//! A [`Span`] is the place of a call in its trace, and travels in the [`CallContext`](crate::call::CallContext). The
//! boundaries ([`boundary`](crate::boundary)) and the code that sends calls to other hosts begin and end spans. A call
//! without a trace has an empty span: each boundary then checks one pointer and allocates nothing. A recorded span is one
//! allocation, which becomes its record, and one more if it has attributes: its name, its component and its statement are
//! shared with all spans of the same boundary.
//!
//! **Who decides.** The host decides at the edge, with its own random number, whether a request is recorded. A client's
//! `traceparent` only gives the ids, so that its trace continues here. Neither its flag nor the id that it chose
//! influences the decision, except behind a trusted proxy. So clients cannot raise the ratio that the operator set.
//! Inside the application (between hosts, and from a stored message to its delivery) the first decision counts, so that
//! every tree is complete.
//!
//! **Bounded.** Traces are kept in a ring ([`ring`]), which is limited in traces, in spans of one trace, and in bytes.

mod guest;
mod ids;
mod open_span;
mod record;
mod redaction;
mod ring;
mod statement;
#[cfg(test)]
mod tests;

pub(crate) use guest::GuestSpan;
pub(crate) use ids::FIXED_LIMITS as ID_LIMITS;
pub use ids::{Parent, SpanId, TRACEPARENT, TRACESTATE, TraceId};
pub(crate) use open_span::OpenSpan;
pub(crate) use record::FIXED_LIMITS as SPAN_LIMITS;
pub use record::{Attribute, Event, Guest, Kind, Record};
pub use redaction::{Redaction, SharedRedaction};
pub(crate) use ring::FIXED_LIMITS;
pub use ring::{Filter, Summary, Trace};
pub(crate) use statement::FIXED_LIMITS as STATEMENT_LIMITS;
pub(crate) use statement::{Statements, operation};

use http::{HeaderMap, HeaderValue};
use ring::Ring;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Receives every record too; must not wait.
pub type Sink = Box<dyn Fn(&Arc<Record>) + Send + Sync>;

/// Whether and where traces are recorded; cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Tracing>>);

struct Tracing {
    /// The number of requests out of 2^64 that are recorded.
    share: u64,
    /// Whether a trusted proxy's decision counts.
    parent_based: bool,
    numbers: ids::Numbers,
    ring: Ring,
    sink: OnceLock<Sink>,
    lost: AtomicU64,
    /// What the reason of no failure may contain.
    hidden: SharedRedaction,
    /// The component of what no component does.
    nobody: Arc<str>,
}

impl Tracer {
    /// A tracer that records nothing, so that no call has a span.
    pub fn off() -> Self {
        Tracer(None)
    }

    /// Records this ratio of all requests, from 0 to 1; with `parent_based`, a trusted proxy decides about its own.
    pub fn sampled(ratio: f64, parent_based: bool) -> Self {
        // The cast saturates: 1.0 is all.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is meant to saturate")]
        let share = (ratio.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u64;
        let (ring, numbers) = (Ring::default(), ids::Numbers::new());
        let (sink, lost, hidden, nobody) = (OnceLock::new(), AtomicU64::new(0), SharedRedaction::default(), "".into());
        Tracer(Some(Arc::new(Tracing { share, parent_based, numbers, ring, sink, lost, hidden, nobody })))
    }

    /// Whether there can be traces.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Passes every record to `sink` too; only the first call has an effect.
    pub fn send_to(&self, sink: Sink) {
        if let Some(tracing) = &self.0 {
            let _ = tracing.sink.set(sink);
        }
    }

    /// The values that it removes from the reasons of failures: a component that panics may print a secret. `None` if
    /// there are no traces.
    pub fn hidden(&self) -> Option<SharedRedaction> {
        self.0.as_ref().map(|tracing| tracing.hidden.clone())
    }

    /// Begins a trace in this host, and decides whether it is recorded. `parent` only gives the ids.
    pub fn root(&self, parent: Option<Parent>) -> Span {
        self.root_at(parent, Instant::now)
    }

    fn root_at(&self, parent: Option<Parent>, began: impl FnOnce() -> Instant) -> Span {
        let Some(tracing) = &self.0 else { return Span::default() };
        let recorded = tracing.share > 0 && tracing.numbers.next() <= tracing.share;
        self.place(parent, recorded, began)
    }

    /// The place of a client's request with this `parent`, which has just begun; `trusted` if the client is a trusted
    /// proxy.
    pub fn at_edge(&self, parent: impl FnOnce() -> Option<Parent>, trusted: bool, began: Instant) -> Span {
        match &self.0 {
            None => Span::default(),
            Some(tracing) if trusted && tracing.parent_based => self.joined_at(parent(), || began),
            Some(_) => self.root_at(parent(), || began),
        }
    }

    /// The place below `parent`, for which this application has already decided; without a parent it begins a new
    /// trace.
    pub fn joined(&self, parent: Option<Parent>) -> Span {
        self.joined_at(parent, Instant::now)
    }

    fn joined_at(&self, parent: Option<Parent>, began: impl FnOnce() -> Instant) -> Span {
        match parent {
            None => self.root_at(None, began),
            Some(parent) => {
                let recorded = parent.sampled;
                self.place(Some(parent), recorded, began)
            }
        }
    }

    fn place(&self, parent: Option<Parent>, recorded: bool, began: impl FnOnce() -> Instant) -> Span {
        let Some(tracing) = &self.0 else { return Span::default() };
        // A trace that is not recorded has a place only if a caller sent it.
        if !recorded && parent.is_none() {
            return Span::default();
        }
        let (trace, span, state) = match parent {
            Some(parent) => (parent.trace, Some(parent.span), parent.state),
            None => (TraceId::new(&tracing.numbers), None, None),
        };
        let component = tracing.nobody.clone();
        let (began, epoch) = (began(), souk_manifest::clock::since_epoch());
        let root = Arc::new(Root { trace, recorded, state, tracing: tracing.clone(), began, epoch });
        Span(Some(Place { root, span, component }))
    }

    /// The traces that are kept, the newest first.
    pub fn list(&self, filter: &Filter, most: usize) -> Vec<Summary> {
        self.0.as_ref().map(|tracing| tracing.ring.list(filter, most)).unwrap_or_default()
    }

    /// The trace with this id, or that of the request with it.
    pub fn find(&self, id: &str) -> Option<Trace> {
        self.0.as_ref().and_then(|tracing| tracing.ring.find(id))
    }

    /// The number of records for which the ring had no room.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |tracing| tracing.lost.load(Ordering::Relaxed))
    }
}

impl Tracing {
    fn keep(&self, record: Arc<Record>) {
        if let Some(sink) = self.sink.get() {
            sink(&record);
        }
        if !self.ring.push(record) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The place of a call in its trace; empty when it has none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Span(Option<Place>);

#[derive(Clone)]
struct Place {
    root: Arc<Root>,
    /// `None` at the beginning of a trace.
    span: Option<SpanId>,
    /// The component that runs the call; empty before a component is reached.
    component: Arc<str>,
}

/// What all places of a trace in this host share.
struct Root {
    trace: TraceId,
    recorded: bool,
    state: Option<Arc<str>>,
    tracing: Arc<Tracing>,
    /// When the trace began in this host, on both clocks: the times of its spans follow from the one that never jumps.
    began: Instant,
    epoch: Duration,
}

impl Root {
    /// The time of `instant`, since 1970.
    fn time(&self, instant: Instant) -> Duration {
        // The first span begins with the trace.
        if instant == self.began {
            return self.epoch;
        }
        self.epoch.saturating_add(instant.saturating_duration_since(self.began))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traceparent().as_deref().unwrap_or("-"))
    }
}

impl Span {
    /// Whether spans below it are recorded.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|place| place.root.recorded)
    }

    /// Begins a span below this one, at this time; `None` when nothing is recorded. An empty `component` means the
    /// parent's component.
    pub(crate) fn begin(&self, kind: Kind, name: &Arc<str>, component: &Arc<str>, began: Instant) -> Option<OpenSpan> {
        let place = self.0.as_ref().filter(|place| place.root.recorded)?;
        let component = if component.is_empty() { &place.component } else { component };
        Some(OpenSpan::new(place, kind, name.clone(), component.clone(), began))
    }

    /// Begins a span for a call that leaves this host, and puts it in the place of this one. Dropped without an end, it
    /// counts as cancelled.
    pub fn leave(&mut self, name: &str) -> Leaving {
        let Some(place) = self.0.as_ref().filter(|place| place.root.recorded) else { return Leaving(None) };
        let began = Instant::now();
        let begun = OpenSpan::new(place, Kind::Client, name.into(), place.component.clone(), began);
        *self = begun.span();
        Leaving(Some((begun, began)))
    }

    /// The value of the header `traceparent`; `None` if there is no trace.
    pub fn traceparent(&self) -> Option<String> {
        String::from_utf8(self.traceparent_bytes()?.into()).ok()
    }

    /// The same, without an allocation.
    pub fn traceparent_bytes(&self) -> Option<[u8; 55]> {
        let place = self.0.as_ref()?;
        Some(ids::traceparent(place.root.trace, place.span?, place.root.recorded))
    }

    /// `traceparent` and `tracestate` as one text, for a stored message; [`Parent::carried`] reads it.
    pub fn carried(&self) -> Option<String> {
        let parent = self.traceparent()?;
        Some(self.tracestate().map_or_else(|| parent.clone(), |state| format!("{parent} {state}")))
    }

    /// The value of the header `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.as_ref()?.root.state.as_deref()
    }

    /// Writes both headers for a callee, and replaces the caller's; does nothing if there is no trace.
    pub fn write(&self, headers: &mut HeaderMap) {
        let value = self.traceparent_bytes().and_then(|text| HeaderValue::from_bytes(&text).ok());
        let Some(value) = value else { return };
        headers.insert(TRACEPARENT, value);
        match self.tracestate().and_then(|state| HeaderValue::try_from(state).ok()) {
            Some(state) => drop(headers.insert(TRACESTATE, state)),
            None => drop(headers.remove(TRACESTATE)),
        }
    }

    /// Does the same for a request that a component sends to the outside. The component's own trace headers stay,
    /// unless they are the ones that the host gave it (`given`).
    pub(crate) fn write_outside(&self, given: &Span, headers: &mut HeaderMap) {
        let Some(had) = headers.get(TRACEPARENT) else { return self.write(headers) };
        if given.traceparent_bytes().is_some_and(|given| had.as_bytes() == given) {
            self.write(headers);
        }
    }
}

/// A call on its way to another host.
#[must_use = "dropped, it counts as cancelled"]
pub struct Leaving(Option<(OpenSpan, Instant)>);

impl Leaving {
    /// Ends the span.
    pub fn end(mut self, error: Option<&'static str>) {
        if let Some((begun, began)) = self.0.take() {
            begun.end(error, began.elapsed());
        }
    }

    /// Adds an attribute to its span.
    pub fn note(&mut self, name: &'static str, value: impl FnOnce() -> Attribute) {
        if let Some((begun, _)) = &mut self.0 {
            begun.note(name, value());
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some((begun, began)) = self.0.take() {
            begun.end(Some("cancelled"), began.elapsed());
        }
    }
}
