//! Spans and logs of a guest, through the functions that it calls.

use super::wit_tracing::{self as wit, SpanContext, SpanData, SpanKind, Status, TraceFlags};
use super::*;
use crate::tests::ctx;
use crate::trace::{Record, Tracer};
use wit::Host as _;

/// The context of a span of a guest in the trace of `outer`.
fn context(outer: &SpanContext, id: &str) -> SpanContext {
    SpanContext { span_id: id.to_owned(), ..outer.clone() }
}

fn span(context: SpanContext, parent: &str, name: &str) -> SpanData {
    let time = |seconds| Datetime { seconds, nanoseconds: 0 };
    let pair = |key: &str, value: &str| types::KeyValue { key: key.into(), value: value.into() };
    SpanData {
        span_context: context,
        parent_span_id: parent.to_owned(),
        span_kind: SpanKind::Client,
        name: name.to_owned(),
        start_time: time(10),
        end_time: time(12),
        attributes: vec![pair("text", "\"one\""), pair("number", "2"), pair("list", "[3]")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Error("why".to_owned()),
        instrumentation_scope: types::InstrumentationScope {
            name: String::new(),
            version: None,
            schema_url: None,
            attributes: Vec::new(),
        },
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    }
}

const ONE: &str = "0000000000000001";
const TWO: &str = "0000000000000002";

/// A call that is recorded, and its place in a trace.
fn recorded(tracer: &Tracer) -> (Ctx, SpanContext) {
    let mut ctx = ctx(|_| {});
    let parent = crate::trace::Parent::carried("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    ctx.call.span = tracer.joined(parent);
    let outer = ctx.outer_span_context().unwrap();
    (ctx, outer)
}

fn spans(tracer: &Tracer) -> Vec<Arc<Record>> {
    tracer.find("4bf92f3577b34da6a3ce929d0e0e4736").map(|trace| trace.spans).unwrap_or_default()
}

#[tokio::test]
async fn spans_of_a_guest_are_below_its_call_and_what_it_does_is_below_them() {
    let tracer = Tracer::sampled(1.0, false);
    let (mut ctx, outer) = recorded(&tracer);
    assert_eq!((outer.span_id.as_str(), outer.trace_flags), ("00f067aa0ba902b7", TraceFlags::SAMPLED));
    ctx.on_start(context(&outer, ONE)).unwrap();
    ctx.on_start(context(&outer, TWO)).unwrap();
    assert_eq!(ctx.call.span.id().unwrap().to_string(), TWO, "what it does is a part of its innermost span");
    assert_eq!(ctx.outer_span_context().unwrap().span_id, outer.span_id, "the call itself stays where it is");
    ctx.on_end(span(context(&outer, TWO), ONE, "inner")).unwrap();
    assert_eq!(ctx.call.span.id().unwrap().to_string(), ONE);
    // A parent that is not one of the call's spans.
    ctx.on_end(span(context(&outer, ONE), "00000000000000ff", "whole")).unwrap();
    assert_eq!(ctx.call.span.id().unwrap().to_string(), outer.span_id);
    let kept = spans(&tracer);
    let parents: Vec<_> = kept.iter().map(|one| (&*one.name, one.parent.unwrap().to_string())).collect();
    assert_eq!(parents.len(), 2, "{parents:?}");
    assert!(parents.contains(&("inner", ONE.to_owned())) && parents.contains(&("whole", outer.span_id)), "{parents:?}");
    let guest = kept[0].guest.as_ref().unwrap();
    let names: Vec<_> = guest.attributes.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names, kept[0].detail.as_deref()), (vec!["text", "number", "list"], Some("why")));
}

#[tokio::test]
async fn a_guest_writes_into_no_other_trace_and_no_span_twice() {
    let tracer = Tracer::sampled(1.0, false);
    let (mut ctx, outer) = recorded(&tracer);
    let other = SpanContext { trace_id: "4bf92f3577b34da6a3ce929d0e0e4737".to_owned(), ..context(&outer, ONE) };
    for foreign in [other, context(&outer, &outer.span_id), context(&outer, "no id")] {
        ctx.on_start(foreign.clone()).unwrap();
        ctx.on_end(span(foreign, "", "foreign")).unwrap();
    }
    // A span that has not begun.
    ctx.on_end(span(context(&outer, TWO), "", "early")).unwrap();
    assert!(spans(&tracer).is_empty() && tracer.list(&crate::trace::Filter::default(), 9).is_empty());
    for _ in 0..2 {
        ctx.on_start(context(&outer, ONE)).unwrap();
        ctx.on_end(span(context(&outer, ONE), "", "once")).unwrap();
    }
    assert_eq!(spans(&tracer).len(), 1);
}

#[tokio::test]
async fn spans_are_bounded_and_those_that_are_not_ended_end_with_the_call() {
    let tracer = Tracer::sampled(1.0, false);
    let (mut ctx, outer) = recorded(&tracer);
    for number in 1..=MAX_GUEST_SPANS + 5 {
        ctx.on_start(context(&outer, &format!("{number:016x}"))).unwrap();
    }
    assert_eq!(tracer.lost(), 5);
    drop(ctx);
    let kept = spans(&tracer);
    assert_eq!(kept.len(), MAX_GUEST_SPANS);
    let roots = kept.iter().filter(|one| one.parent.unwrap().to_string() == outer.span_id);
    assert_eq!(roots.count(), 1, "each is below the one before");
}

#[tokio::test]
async fn metrics_and_logs_go_to_the_sink_and_are_refused_when_it_has_no_room() {
    let mut ctx = ctx(|_| {});
    let metrics = || metric::ResourceMetrics {
        resource: types::Resource { attributes: Vec::new(), schema_url: None },
        scope_metrics: Vec::new(),
    };
    metric::Host::export(&mut ctx, metrics()).unwrap().unwrap();
    let (sender, records) = std::sync::mpsc::sync_channel(1);
    ctx.grants.telemetry.send_to(Box::new(move |record| sender.try_send(record).is_ok()));
    let log = wit_logs::LogRecord {
        timestamp: Some(Datetime { seconds: 1, nanoseconds: 2 }),
        observed_timestamp: None,
        severity_text: Some("WARN".into()),
        severity_number: Some(13),
        body: Some("\"low\"".into()),
        attributes: None,
        event_name: None,
        resource: None,
        instrumentation_scope: None,
        trace_id: None,
        span_id: None,
        trace_flags: None,
    };
    wit_logs::Host::on_emit(&mut ctx, log).unwrap();
    assert!(metric::Host::export(&mut ctx, metrics()).unwrap().unwrap_err().contains("less often"));
    let Ok(GuestRecord::Log { log, .. }) = records.try_recv() else { panic!("no log") };
    assert_eq!((log.time, log.severity, log.body.as_str()), (1_000_000_002, 13, "low"));
}

#[test]
fn a_list_or_an_object_stays_the_text_that_it_was() {
    use serde_json::json;
    for (text, read) in [
        ("\"one\"", Some(json!("one"))),
        (" 2", Some(json!(2))),
        ("true", Some(json!(true))),
        ("[3]", None),
        ("\n {\"a\": 3}", None),
        ("no JSON", None),
    ] {
        assert_eq!(scalar(text), read, "{text}");
    }
    let list = "[3]";
    assert!(matches!(value(list), crate::trace::Attribute::Text(text) if &*text == list));
}
