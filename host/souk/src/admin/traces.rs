//! The stored traces as JSON: a filtered list, or one trace with all its spans.

use super::problem::Problem;
use super::routes::parameter;
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use souk_bindings::trace::{Attribute, Filter, Record, Tracer};
use std::collections::BTreeMap;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of traces in answers.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How many traces an answer has by default.
    const LISTED_TRACES: usize = 100, "traces";
}

/// A trace in a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceLine {
    /// Its id, 32 hexadecimal digits.
    pub trace_id: String,
    /// When it began, in the format of RFC 3339.
    pub start: String,
    /// How long its first span took.
    pub duration_ms: f64,
    /// The name of its first span.
    pub name: String,
    /// The component of its first span; empty when no component answered.
    pub component: String,
    /// `error` when any span failed, otherwise `ok`.
    pub status: String,
    /// The kind of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many spans there are.
    pub spans: usize,
}

/// A trace.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceTree {
    /// Its id, 32 hexadecimal digits.
    pub trace_id: String,
    /// Its spans, ordered by start.
    pub spans: Vec<TraceSpan>,
    /// How many further spans there were that are not stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A span.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceSpan {
    /// Its id, 16 hexadecimal digits.
    pub span_id: String,
    /// The id of its parent span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The name of the operation.
    pub name: String,
    /// `server`, `client`, `internal`, `producer` or `consumer`.
    pub kind: String,
    /// The component; empty when no component answered.
    pub component: String,
    /// When it began, in the format of RFC 3339.
    pub start: String,
    /// How long it took.
    pub duration_ms: f64,
    /// `ok` or `error`.
    pub status: String,
    /// The kind of failure that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it failed, with a trapped component's own message; only for the token `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its attributes: texts and numbers.
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// The traces that match `query`, newest first.
pub(super) fn list(tracer: &Tracer, query: Option<&str>) -> Result<Vec<TraceLine>, Problem> {
    let number = |key: &str| match parameter(query, key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Problem::bad(format_args!("`{key}` is not a number\n  fix: `{key}=100`"))),
        },
    };
    let filter = Filter {
        component: parameter(query, "component"),
        route: parameter(query, "route"),
        errors: parameter(query, "errors").is_some_and(|value| value == "true"),
        slower_than: number("slower")?.map(Duration::from_millis),
    };
    let most = number("limit")?.map_or(LISTED_TRACES, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let line = |found: souk_bindings::trace::Summary| TraceLine {
        trace_id: found.trace.to_string(),
        start: time(found.start),
        duration_ms: millis(found.duration),
        name: found.name.into(),
        component: found.component.to_string(),
        status: status(found.error.is_some()),
        error: found.error.map(Into::into),
        spans: found.spans,
    };
    Ok(tracer.list(&filter, most).into_iter().map(line).collect())
}

/// The trace with this id, or the trace of the request with this id. It includes arguments, results and failed
/// components' messages only for clients that may make calls.
pub(super) fn one(tracer: &Tracer, id: &str, with_values: bool) -> Result<TraceTree, Problem> {
    let found = tracer.find(id).ok_or_else(|| {
        let fix = match tracer.is_on() {
            true => "`GET /v1/traces` lists the stored ones; older ones were deleted",
            false => "start the host with `--admin`, or OTEL_TRACES_SAMPLER=always_on: it records none now",
        };
        Problem::not_found(format_args!("no trace has this id\n  fix: {fix}"))
    })?;
    let spans = found.spans.iter().map(|record| span(record, with_values)).collect();
    Ok(TraceTree { trace_id: found.trace.to_string(), spans, lost: found.lost })
}

fn span(record: &Record, with_values: bool) -> TraceSpan {
    let shown = record.attributes.iter().filter(|(name, _)| with_values || !Record::VALUES.contains(name));
    let attributes = shown.map(|(name, value)| ((*name).to_owned(), json(value)));
    // They are the guest's own text, and may be personal data.
    let own = record.guest.as_deref().filter(|_| with_values).map(|guest| guest.attributes.as_slice());
    let own = own.unwrap_or_default().iter().map(|(name, value)| (name.to_string(), json(value)));
    let attributes = attributes.chain(own);
    TraceSpan {
        span_id: record.span.to_string(),
        parent_id: record.parent.map(|parent| parent.to_string()),
        name: record.name.to_string(),
        kind: record.kind.name().to_owned(),
        component: record.component.to_string(),
        start: time(record.start),
        duration_ms: millis(record.duration),
        status: status(record.error.is_some()),
        error: record.error.as_deref().map(str::to_owned),
        detail: record.detail.as_deref().filter(|_| with_values).map(str::to_owned),
        attributes: attributes.collect(),
    }
}

fn json(value: &Attribute) -> serde_json::Value {
    match value {
        Attribute::Text(text) => (&**text).into(),
        Attribute::Number(number) => (*number).into(),
    }
}

fn status(failed: bool) -> String {
    if failed { "error" } else { "ok" }.to_owned()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Formats a time since 1970 as in RFC 3339, with microseconds.
fn time(since: Duration) -> String {
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let time = DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
