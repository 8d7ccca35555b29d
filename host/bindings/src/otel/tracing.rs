//! Spans of guests, as parts of the trace of the call.

use super::wit_tracing::{self as wit, SpanContext, SpanData, SpanKind, Status, TraceFlags};
use super::{Datetime, MAX_GUEST_EVENTS, MAX_GUEST_SPANS, attributes, name};
use crate::Ctx;
use crate::tape;
use crate::trace::{Event, GuestSpan, Kind, Span, SpanId};
use std::time::Duration;

/// The spans of a guest in one call.
#[derive(Default)]
pub struct State {
    /// The place of the call itself in the trace; `None` before the guest has begun a span.
    outer: Option<Span>,
    /// The spans that it has begun and not ended, the newest last.
    open: Vec<(SpanId, Duration)>,
    /// The spans that it has ended.
    ended: Vec<SpanId>,
}

impl State {
    /// Called at the end of the call: ends the spans that the guest has left open, so that every span of the trace has
    /// its parent.
    pub(crate) fn end(&mut self) {
        let Some(outer) = self.outer.take() else { return };
        let now = souk_manifest::clock::since_epoch();
        let mut parent = outer.id();
        for (id, start) in std::mem::take(&mut self.open) {
            outer.keep_guest(GuestSpan {
                id,
                parent,
                name: "a span that was not ended".into(),
                start,
                duration: now.saturating_sub(start),
                ..GuestSpan::default()
            });
            parent = Some(id);
        }
        self.ended.clear();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end();
    }
}

/// The time since 1970.
fn since_epoch(time: Datetime) -> Duration {
    Duration::new(time.seconds, time.nanoseconds.min(999_999_999))
}

impl Ctx {
    /// The call's place in the trace, which is the parent of the guest's spans.
    fn outer_span(&self) -> &Span {
        self.otel.outer.as_ref().unwrap_or(&self.call.span)
    }

    /// The id of a guest's span, if it belongs to the trace of this call and the trace is recorded.
    fn guest_span(&self, context: &SpanContext) -> Option<SpanId> {
        let outer = self.outer_span();
        let trace = outer.trace_id().filter(|_| outer.is_recorded())?;
        let id = SpanId::parse(&context.span_id)?;
        (trace.to_string() == context.trace_id && outer.id() != Some(id)).then_some(id)
    }

    /// Makes the guest's innermost open span the parent of everything that is done from here on.
    fn place_in_guest_span(&mut self) {
        let outer = self.outer_span();
        let span = match self.otel.open.last() {
            Some((id, _)) => outer.within(*id),
            None => outer.clone(),
        };
        self.hooks.call.span = span.clone();
        self.next.call.span = span.clone();
        self.call.span = span;
    }
}

impl wit::Host for Ctx {
    fn on_start(&mut self, context: SpanContext) -> wasmtime::Result<()> {
        let Some(id) = self.guest_span(&context) else { return Ok(()) };
        let known = self.otel.ended.contains(&id) || self.otel.open.iter().any(|(open, _)| *open == id);
        if known {
            return Ok(());
        }
        if self.otel.open.len() + self.otel.ended.len() >= MAX_GUEST_SPANS {
            self.outer_span().lose();
            return Ok(());
        }
        let outer = self.outer_span().clone();
        self.otel.outer.get_or_insert(outer);
        self.otel.open.push((id, souk_manifest::clock::since_epoch()));
        self.place_in_guest_span();
        Ok(())
    }

    fn on_end(&mut self, span: SpanData) -> wasmtime::Result<()> {
        let Some(id) = self.guest_span(&span.span_context) else { return Ok(()) };
        let Some(at) = self.otel.open.iter().position(|(open, _)| *open == id) else { return Ok(()) };
        self.otel.open.remove(at);
        self.otel.ended.push(id);
        let outer = self.outer_span().clone();
        let parent = SpanId::parse(&span.parent_span_id).filter(|parent| {
            *parent != id && (self.otel.ended.contains(parent) || self.otel.open.iter().any(|(open, _)| open == parent))
        });
        let (start, end) = (since_epoch(span.start_time), since_epoch(span.end_time));
        let events = span.events.iter().take(MAX_GUEST_EVENTS).map(|event| Event {
            name: name(&event.name),
            time: since_epoch(event.time),
            attributes: attributes(&event.attributes),
        });
        outer.keep_guest(GuestSpan {
            id,
            parent: parent.or(outer.id()),
            name: name(&span.name),
            kind: match span.span_kind {
                SpanKind::Client => Kind::Client,
                SpanKind::Server => Kind::Server,
                SpanKind::Producer => Kind::Producer,
                SpanKind::Consumer => Kind::Consumer,
                SpanKind::Internal => Kind::Internal,
            },
            start,
            duration: end.saturating_sub(start),
            error: match span.status {
                Status::Error(why) => Some(why),
                Status::Unset | Status::Ok => None,
            },
            attributes: attributes(&span.attributes),
            events: events.collect(),
        });
        self.place_in_guest_span();
        Ok(())
    }

    fn outer_span_context(&mut self) -> wasmtime::Result<SpanContext> {
        let asked = tape::asked(self.call.tape.as_deref(), "wasi:otel/tracing#outer-span-context", String::new);
        let (trace_id, span_id, recorded, trace_state) = tape::now(asked, || {
            let outer = self.outer_span();
            let pairs =
                outer.tracestate().unwrap_or_default().split(',').filter_map(|pair| pair.trim().split_once('='));
            let state: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let trace = outer.trace_id().map_or_else(|| "0".repeat(32), |id| id.to_string());
            let span = outer.id().map_or_else(|| "0".repeat(16), |id| id.to_string());
            (trace, span, outer.is_recorded(), state)
        })?;
        let trace_flags = if recorded { TraceFlags::SAMPLED } else { TraceFlags::empty() };
        Ok(SpanContext { trace_id, span_id, trace_flags, is_remote: true, trace_state })
    }
}
