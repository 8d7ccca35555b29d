//! Converts a span's record to OTLP.

use super::config::text;
use super::origin::Origin;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use souk_bindings::trace::{Attribute, Kind, Record};
use std::sync::Arc;
use std::time::Duration;

/// The flag in W3C's `traceparent` for a recorded span.
const SAMPLED: u32 = 1;

/// The request to the collector for these spans.
pub(super) fn request(origin: &Origin, records: &[Arc<Record>]) -> ExportTraceServiceRequest {
    let spans = records.iter().map(|record| span(record)).collect();
    let scope = ScopeSpans { scope: Some(origin.scope.clone()), spans, ..ScopeSpans::default() };
    let resource =
        ResourceSpans { resource: Some(origin.resource.clone()), scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

fn span(record: &Record) -> Span {
    let shown = record.attributes.iter().filter(|(name, _)| !Record::VALUES.contains(name));
    let mut attributes: Vec<KeyValue> = shown.map(|(name, value)| attribute(name, value)).collect();
    if !record.component.is_empty() {
        attributes.push(text("souk.component", &*record.component));
    }
    attributes.extend(record.error.as_deref().map(|error| text("error.type", error)));
    let guest = record.guest.as_deref();
    let own = |given: &[(Box<str>, Attribute)]| given.iter().map(|(name, value)| attribute(name, value)).collect();
    attributes.extend::<Vec<_>>(guest.map(|guest| own(&guest.attributes)).unwrap_or_default());
    let events = guest.map(|guest| guest.events.as_slice()).unwrap_or_default().iter().map(|event| Event {
        time_unix_nano: nanos(event.time),
        name: event.name.to_string(),
        attributes: own(&event.attributes),
        ..Event::default()
    });
    // What a component printed before it trapped may be personal data; what it says in its own spans is meant to be sent.
    let said = guest.and(record.detail.as_deref());
    let error = |error: &str| Status { message: said.unwrap_or(error).to_owned(), code: StatusCode::Error.into() };
    Span {
        trace_id: record.trace.bytes().to_vec(),
        span_id: record.span.bytes().to_vec(),
        parent_span_id: record.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        trace_state: record.state.as_deref().unwrap_or_default().to_owned(),
        flags: SAMPLED,
        name: record.name.to_string(),
        kind: kind(record.kind).into(),
        start_time_unix_nano: nanos(record.start),
        end_time_unix_nano: nanos(record.start + record.duration),
        attributes,
        events: events.collect(),
        status: Some(record.error.as_deref().map_or_else(Status::default, error)),
        ..Span::default()
    }
}

pub(super) fn attribute(name: &str, value: &Attribute) -> KeyValue {
    match value {
        Attribute::Text(value) => text(name, &**value),
        Attribute::Name(value) => text(name, *value),
        Attribute::Number(number) => {
            let value = AnyValue { value: Some(any_value::Value::IntValue(*number)) };
            KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
        }
    }
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}

/// Nanoseconds since 1970; 64 bits are enough until 2554.
pub(super) fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
