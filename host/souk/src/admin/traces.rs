//! The traces that are kept, as JSON: a list with filters, and one with all of its spans.

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

    /// How many traces an answer has when it is not told.
    const LISTED_TRACES: usize = 100, "traces";
}

/// A trace in a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceLine {
    /// Its id, 32 hexadecimal digits.
    pub trace_id: String,
    /// When it began, as RFC 3339 has it.
    pub start: String,
    /// How long its first span took.
    pub duration_ms: f64,
    /// What its first span did.
    pub name: String,
    /// And where; empty where no component has answered.
    pub component: String,
    /// `error` where any span has one, or else `ok`.
    pub status: String,
    /// Why.
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
    /// Its spans, in the order of their beginnings.
    pub spans: Vec<TraceSpan>,
    /// How many spans there were beyond those that are kept.
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
    /// The span that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// What it did.
    pub name: String,
    /// `server`, `client`, `internal`, `producer` or `consumer`.
    pub kind: String,
    /// Where; empty where no component has answered.
    pub component: String,
    /// When it began, as RFC 3339 has it.
    pub start: String,
    /// How long it took.
    pub duration_ms: f64,
    /// `ok` or `error`.
    pub status: String,
    /// What kind of failure it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why, with what a component said when it trapped; for the token `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What is known of it: texts and numbers.
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// The traces that `query` asks for, the newest first.
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

/// The trace with this id, or that of the request with it. Arguments, results and what components said when they failed are
/// in it for who may make calls.
pub(super) fn one(tracer: &Tracer, id: &str, with_values: bool) -> Result<TraceTree, Problem> {
    let found = tracer.find(id).ok_or_else(|| {
        let fix = match tracer.is_on() {
            true => "`GET /v1/traces` has those that are kept; older ones are gone",
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
    // They are the guest's own words, and may be personal data.
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

/// A time since 1970 as RFC 3339 has it, with microseconds.
fn time(since: Duration) -> String {
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let time = DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
