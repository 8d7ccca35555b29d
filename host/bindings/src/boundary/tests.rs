//! What crosses is measured once, and nothing that a stranger chooses makes another measure.

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
fn switched_off_nothing_is_kept() {
    let boundaries = Boundaries::off();
    boundaries.calls("orders", "", "f").open(&Span::default()).close(Some("trapped"));
    boundaries.failures("orders").count("trapped");
    assert!(boundaries.registry().is_none());
}

#[test]
fn a_tick_counts_for_whoever_computes_and_not_for_the_caller_that_waits_for_it() {
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
