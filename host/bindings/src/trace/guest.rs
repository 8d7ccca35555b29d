//! Spans that a guest creates itself, below the span of its call.

use super::{Attribute, Event, Guest, Kind, Place, Record, Span, SpanId, TraceId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A span of a guest that has ended.
pub(crate) struct GuestSpan {
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
    /// Why it failed.
    pub(crate) error: Option<String>,
    pub(crate) attributes: Vec<(Box<str>, Attribute)>,
    pub(crate) events: Vec<Event>,
}

impl Default for GuestSpan {
    fn default() -> Self {
        GuestSpan {
            id: SpanId::none(),
            parent: None,
            name: "".into(),
            kind: Kind::Internal,
            start: Duration::ZERO,
            duration: Duration::ZERO,
            error: None,
            attributes: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// The kind of failure of a span that a guest marks as failed.
const GUEST_ERROR: &str = "guest";

impl Span {
    /// The id of its trace.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|place| place.root.trace)
    }

    /// Its own id; `None` at the beginning of a trace.
    pub(crate) fn id(&self) -> Option<SpanId> {
        self.0.as_ref()?.span
    }

    /// The place for operations inside the span `id`, which is below this one.
    pub(crate) fn within(&self, id: SpanId) -> Span {
        let Some(place) = &self.0 else { return Span::default() };
        Span(Some(Place { span: Some(id), ..place.clone() }))
    }

    /// Counts a guest's span that was dropped.
    pub(crate) fn lose(&self) {
        if let Some(place) = &self.0 {
            place.root.tracing.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records a guest's span.
    pub(crate) fn keep_guest(&self, span: GuestSpan) {
        let Some(place) = self.0.as_ref().filter(|place| place.root.recorded) else { return };
        let GuestSpan { id, parent, name, kind, start, duration, error, attributes, events } = span;
        let why = error.as_deref().map(|why| place.root.tracing.hidden.apply(why));
        let detail = why.as_deref().map(|why| super::record::cut(why).into());
        place.root.tracing.keep(Arc::new(Record {
            trace: place.root.trace,
            span: id,
            parent,
            name: name.into(),
            component: place.component.clone(),
            kind,
            start,
            duration,
            error: error.map(|_| GUEST_ERROR.into()),
            detail,
            attributes: Vec::new(),
            state: place.root.state.clone(),
            guest: Some(Box::new(Guest { attributes, events })),
        }));
    }
}
