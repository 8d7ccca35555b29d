//! Each crossing is measured once, and nothing that a stranger chooses creates another series.

use super::*;
use prometheus::TextEncoder;

fn text(boundaries: &Boundaries) -> String {
    TextEncoder::new().encode_to_string(&boundaries.registry().unwrap().gather()).unwrap()
}

#[test]
fn a_crossing_is_measured_by_what_became_of_it() {
    let boundaries = Boundaries::measured().unwrap();
    let calls = boundaries.calls("orders", "", "a:b/c@1.0.0#d");
    calls.open(&Span::default()).close(None);
    calls.open(&Span::default()).close_with(&Err::<(), _>(7), |_| "trapped");
    drop(calls.open(&Span::default()));
    let text = text(&boundaries);
    for (error, count) in [("", 1), ("trapped", 1), ("cancelled", 1)] {
        let line = format!(
            "rpc_server_call_duration_seconds_count{{error_type=\"{error}\",rpc_method=\"a:b/c@1.0.0#d\",\
             souk_component=\"orders\",souk_version=\"\"}} {count}"
        );
        assert!(text.contains(&line), "{line} is missing:\n{text}");
    }
}

#[test]
fn an_attempt_that_is_made_again_is_a_span_and_counts_once() {
    let tracer = Tracer::sampled(1.0, true);
    let boundaries = Boundaries::measured().unwrap().traced(tracer.clone());
    let calls = boundaries.calls("gateway", "", "wasi:http/handler#handle");
    let root = tracer.root(None);
    calls.open(&root).close_unmeasured();
    assert!(!text(&boundaries).contains("souk_component=\"gateway\""), "{}", text(&boundaries));
    calls.open(&root).close(None);
    let id = tracer.list(&crate::trace::Filter::default(), 1)[0].trace.to_string();
    let spans = tracer.find(&id).unwrap().spans;
    assert_eq!(spans.iter().filter(|span| span.error.is_none()).count(), 2);
    let counted = "rpc_method=\"wasi:http/handler#handle\",souk_component=\"gateway\",souk_version=\"\"} 1";
    assert!(text(&boundaries).contains(counted), "{}", text(&boundaries));
}

#[test]
fn requests_of_all_kinds_make_a_bounded_number_of_measures() {
    let boundaries = Boundaries::measured().unwrap();
    let route = boundaries.requests("web", "/api/...");
    let unknown = Boundary::off();
    let mut seen = 0;
    for round in 0..2 {
        for n in 0..1000_u16 {
            let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
            let mut crossing = route.open(&Span::default());
            crossing.at(&unknown);
            crossing.close_request(&method, StatusCode::from_u16(100 + n % 900).map_err(|_| "never"));
        }
        let series = text(&boundaries).lines().count();
        assert!(round == 0 || series == seen, "{series} after {seen}");
        seen = series;
    }
    assert!(text(&boundaries).contains("http_request_method=\"_OTHER\",http_response_status_code=\"_OTHER\""));
}

#[test]
fn a_crossing_of_a_call_with_a_trace_is_a_span_below_the_callers() {
    let tracer = Tracer::sampled(1.0, true);
    let boundaries = Boundaries::measured().unwrap().traced(tracer.clone());
    let root = tracer.root(None);
    let mut request = boundaries.requests("", "").open(&root);
    request.at(&boundaries.requests("gateway", "/orders/..."));
    let mut statement = boundaries.statements("orders", "sqlite").open(&request.place(&root));
    statement.statement("select a from b where c = 'secret'");
    statement.rows(3_u64);
    statement.close(Some("busy"));
    drop(boundaries.key_value("auth", "sqlite").open(&request.place(&root)));
    request.close_request(&Method::GET, Ok(StatusCode::NOT_FOUND));
    let id = tracer.list(&crate::trace::Filter::default(), 1)[0].trace.to_string();
    let spans = tracer.find(&id).unwrap().spans;
    let outer = spans.iter().find(|span| span.kind == Kind::Server).unwrap();
    assert_eq!((&*outer.name, &*outer.component, &outer.error), ("GET /orders/...", "gateway", &None));
    assert_eq!((outer.parent, outer.text("http.route")), (None, Some("/orders/...")));
    let of = |component: &str| spans.iter().find(|span| &*span.component == component && span.kind == Kind::Client);
    let statement = of("orders").unwrap();
    assert_eq!((&*statement.name, statement.parent), ("SELECT", Some(outer.span)));
    assert_eq!(statement.text("db.query.text"), Some("select a from b where c = ?"));
    assert_eq!(statement.error.as_deref(), Some("busy"));
    // A store's boundary has no component of its own: the span names the calling component.
    assert_eq!(of("gateway").unwrap().error.as_deref(), Some("cancelled"));
}

#[test]
fn series_go_with_the_last_boundary_that_has_them() {
    let boundaries = Boundaries::measured().unwrap();
    let [old, same, new] = ["1", "1", "2"].map(|version| boundaries.calls("orders", version, "f"));
    for boundary in [&old, &same, &new] {
        boundary.open(&Span::default()).close(None);
        boundary.open(&Span::default()).close(Some("trapped"));
    }
    let series = |version: &str| text(&boundaries).matches(&format!("souk_version=\"{version}\"}} ")).count();
    let (of_old, of_new) = (series("1"), series("2"));
    assert!(of_old > 0 && of_old == of_new);
    drop(old);
    assert_eq!(series("1"), of_old, "there is another with the same labels");
    let crossing = same.open(&Span::default());
    drop(same);
    assert_eq!(series("1"), of_old, "a call is under way");
    crossing.close(None);
    assert_eq!((series("1"), series("2")), (0, of_new));
}

#[test]
fn switched_off_nothing_is_kept() {
    let boundaries = Boundaries::off();
    boundaries.calls("orders", "", "f").open(&Span::default()).close(Some("trapped"));
    boundaries.failures("orders").count("trapped");
    assert!(boundaries.registry().is_none());
}

#[test]
fn a_tick_counts_for_the_computing_instance_and_not_for_its_waiting_caller() {
    let (caller, callee) = (Arc::new(Usage::default()), Arc::new(Usage::default()));
    let tick = || [&caller, &callee].map(|usage| usage.tick());
    tick();
    let first = Running::begin(&caller);
    tick();
    let nested = Running::begin(&callee);
    tick();
    tick();
    drop(nested);
    tick();
    drop(first);
    tick();
    assert_eq!((caller.ticks(), callee.ticks()), (2, 2));
}
