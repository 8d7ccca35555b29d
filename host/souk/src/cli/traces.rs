//! `souk traces` and `souk trace`: show what requests of the running host did.

use super::{AppArgs, output};
use crate::admin::RunningHost;
use crate::admin::traces::{TraceLine, TraceSpan, TraceTree};
use chrono::{DateTime, Local};
use clap::Args;
use souk_bindings::printable;
use souk_manifest::state;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The arguments of `souk traces`.
#[derive(Debug, Args)]
#[command(
    after_help = "A host keeps traces when it has the administration listener (--admin, or the console of a terminal), \
                  exports\nthem to a collector, or OTEL_TRACES_SAMPLER is set."
)]
pub(super) struct Traces {
    #[command(flatten)]
    app: AppArgs,
    /// Only those with a span of this component
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// Only those with a request of this route, as written in the manifest
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only those with an error
    #[arg(long)]
    errors: bool,
    /// Only those that took at least this many milliseconds
    #[arg(long, value_name = "MS")]
    slower: Option<u64>,
    /// The most traces to print
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u64,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `souk trace`.
#[derive(Debug, Args)]
pub(super) struct Trace {
    #[command(flatten)]
    app: AppArgs,
    /// The id of the trace, or of the request (`x-request-id`; `trace` in the log)
    id: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn host(app: &AppArgs) -> anyhow::Result<RunningHost> {
    let manifest = app.read();
    let state_dir = app.state_dir(manifest.as_ref().ok().and_then(|m| m.state_dir()));
    RunningHost::connect(&state::control_socket(&state_dir)).await.ok_or_else(|| {
        anyhow::anyhow!(
            "no host runs on the state folder {}\n  fix: start one with `souk up`, or name its folder with --state-dir",
            state_dir.display()
        )
    })
}

impl Traces {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.component.map(|name| ("component", name)));
        query.extend(self.route.map(|route| ("route", route)));
        query.extend(self.slower.map(|slower| ("slower", slower.to_string())));
        if self.errors {
            query.push(("errors", "true".to_owned()));
        }
        let found = host(&self.app).await?.traces(&query).await?;
        if self.json {
            output::line(&output::json(&serde_json::to_string(&found)?));
        } else if found.is_empty() {
            output::note("no such traces; a host keeps them with `--admin`, or OTEL_TRACES_SAMPLER=always_on");
        } else {
            found.iter().for_each(|trace| output::line(&line(trace)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Trace {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let found = host(&self.app).await?.trace(&self.id).await?;
        if self.json {
            output::line(&output::json(&serde_json::to_string(&found)?));
        } else {
            output::text(&waterfall(&found));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn line(trace: &TraceLine) -> String {
    let start = DateTime::parse_from_rfc3339(&trace.start)
        .map_or_else(|_| trace.start.clone(), |start| start.with_timezone(&Local).format("%H:%M:%S%.3f").to_string());
    let error = trace.error.as_deref().map(|error| format!("  {}", first_line(error))).unwrap_or_default();
    let TraceLine { trace_id, duration_ms, name, component, spans, .. } = trace;
    let spans = format!("{spans} span{}", if *spans == 1 { "" } else { "s" });
    format!("{trace_id}  {start}  {duration_ms:>9.2} ms  {spans:<9}  {} ({component}){error}", printable(name))
}

/// The width of the bars, in characters.
const BAR: usize = 24;

/// The spans, each below its parent, with a bar that shows its time.
fn waterfall(trace: &TraceTree) -> String {
    let known: BTreeMap<&str, &TraceSpan> = trace.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut children: BTreeMap<Option<&str>, Vec<&TraceSpan>> = BTreeMap::new();
    for span in &trace.spans {
        children.entry(span.parent_id.as_deref().filter(|id| known.contains_key(id))).or_default().push(span);
    }
    let begins = trace.spans.iter().map(start).fold(f64::INFINITY, f64::min);
    let ends = trace.spans.iter().map(|span| start(span) + span.duration_ms).fold(f64::NEG_INFINITY, f64::max);
    let mut text = format!("trace {}\n", trace.trace_id);
    let mut open: Vec<(usize, &TraceSpan)> = below(&mut children, None, 0);
    // Components choose the ids of their own spans: several can have the same id, or be each other's ancestors. So the
    // children of an id are taken once, and each span is shown once.
    loop {
        let Some((depth, span)) = open.pop() else {
            let Some(unreached) = children.keys().next().copied() else { break };
            open = below(&mut children, unreached, 0);
            continue;
        };
        let from = start(span) - begins;
        let bar = bar(from, span.duration_ms, ends - begins);
        let name = format!("{}{}", "  ".repeat(depth), printable(&span.name));
        let why = span.detail.as_deref().or(span.error.as_deref());
        let error = why.map(|why| format!("  FAILED: {}", first_line(why))).unwrap_or_default();
        let duration = span.duration_ms;
        let _ = writeln!(text, "{from:>9.2} {duration:>9.2} ms |{bar}| {name} ({}){error}", span.component);
        for (key, value) in &span.attributes {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let indent = " ".repeat(9 + 1 + 9 + 4 + BAR + 3 + 2 * depth + 4);
            let _ = writeln!(text, "{indent}{key} = {}", printable(&value));
        }
        open.extend(below(&mut children, Some(&span.span_id), depth + 1));
    }
    if trace.lost > 0 {
        let _ = writeln!(text, "{} more spans are not kept", trace.lost);
    }
    text
}

/// Takes the children of a span, in reverse order.
fn below<'t>(
    children: &mut BTreeMap<Option<&'t str>, Vec<&'t TraceSpan>>,
    of: Option<&'t str>,
    depth: usize,
) -> Vec<(usize, &'t TraceSpan)> {
    children.remove(&of).into_iter().flatten().rev().map(|span| (depth, span)).collect()
}

fn bar(from: f64, took: f64, all: f64) -> String {
    let place = |ms: f64| {
        let share = if all > 0.0 { (ms / all).clamp(0.0, 1.0) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to BAR")]
        let place = (share * BAR as f64).round() as usize;
        place.min(BAR)
    };
    let begin = place(from).min(BAR - 1);
    let end = place(from + took).max(begin + 1);
    format!("{}{}{}", " ".repeat(begin), "=".repeat(end - begin), " ".repeat(BAR - end))
}

/// Milliseconds since 1970.
fn start(span: &TraceSpan) -> f64 {
    DateTime::parse_from_rfc3339(&span.start).map_or(0.0, |start| start.timestamp_micros() as f64 / 1000.0)
}

fn first_line(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, name: &str, start: &str, duration_ms: f64) -> TraceSpan {
        TraceSpan {
            span_id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            name: name.to_owned(),
            kind: "internal".to_owned(),
            component: "orders".to_owned(),
            start: start.to_owned(),
            duration_ms,
            status: "ok".to_owned(),
            error: None,
            detail: None,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_trace_is_shown_as_a_tree_with_a_bar_for_each_span() {
        let at = |micros: u32| format!("2026-07-31T12:00:00.{micros:06}Z");
        let spans = vec![
            span("a", Some("elsewhere"), "GET /orders", &at(0), 8.0),
            span("b", Some("a"), "list", &at(2_000), 4.0),
            span("d", Some("a"), "after", &at(7_000), 1.0),
            span("c", Some("b"), "SELECT", &at(3_000), 1.0),
        ];
        let text = waterfall(&TraceTree { trace_id: "t".to_owned(), spans, lost: 2 });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "     0.00      8.00 ms |========================| GET /orders (orders)");
        assert_eq!(lines[2], "     2.00      4.00 ms |      ============      |   list (orders)");
        assert_eq!(lines[3], "     3.00      1.00 ms |         ===            |     SELECT (orders)");
        assert_eq!(lines[4], "     7.00      1.00 ms |                     ===|   after (orders)");
        assert_eq!(lines[5], "2 more spans are not kept");
    }

    #[test]
    fn spans_with_the_same_id_and_spans_that_are_each_others_ancestors_are_shown_once() {
        let spans_of = |edges: &[(&str, Option<&str>)]| {
            let spans = edges.iter().map(|(id, parent)| span(id, *parent, id, "2026-07-31T12:00:00.000000Z", 1.0));
            let text = waterfall(&TraceTree { trace_id: "t".to_owned(), spans: spans.collect(), lost: 0 });
            text.lines().count() - 1
        };
        // Each of two spans with an id has all children of that id: without a bound 2^40 lines.
        let names: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
        let mut edges = vec![("00", None); 2];
        names.windows(2).for_each(|pair| edges.extend([(&*pair[1], Some(&*pair[0])); 2]));
        assert_eq!(spans_of(&edges), 80);
        assert_eq!(spans_of(&[("a", Some("b")), ("b", Some("a")), ("c", Some("c"))]), 3);
        assert_eq!(spans_of(&[("a", None), ("a", Some("b")), ("b", Some("a"))]), 3);
    }
}
