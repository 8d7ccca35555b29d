//! Ids follow the recommendation, strangers decide nothing, and the memory for traces is limited.

use super::record::MAX_ATTRIBUTE_BYTES;
use super::ring::{MAX_TRACE_MEMORY_BYTES, MAX_TRACE_SPANS, MAX_TRACES};
use super::statement::{Syntax, without_values};
use super::*;
use proptest::prelude::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn all(tracer: &Tracer) -> Vec<Summary> {
    tracer.list(&Filter::default(), usize::MAX)
}

fn span(at: &Span, name: &str, error: Option<&str>) {
    begin(at, Kind::Internal, name, "orders").unwrap().end(error, Duration::ZERO);
}

fn begin(at: &Span, kind: Kind, name: &str, component: &str) -> Option<OpenSpan> {
    at.begin(kind, &name.into(), &component.into(), Instant::now())
}

#[test]
fn a_traceparent_is_read_and_written_as_the_recommendation_has_it() {
    let parent = Parent::parse(PARENT, Some("vendor=1")).unwrap();
    let span = Tracer::sampled(1.0, true).joined(Some(parent));
    assert_eq!((span.traceparent().as_deref(), span.tracestate()), (Some(PARENT), Some("vendor=1")));
    assert_eq!(Parent::carried(&span.carried().unwrap()), Parent::parse(PARENT, Some("vendor=1")));
    assert_eq!(Parent::carried(PARENT), Parent::parse(PARENT, None));
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, PARENT.parse().unwrap());
    ["a=1", "b=2"]
        .iter()
        .for_each(|state| assert!(headers.append(TRACESTATE, state.parse().unwrap()) || *state == "a=1"));
    assert_eq!(Parent::of(&headers), Parent::parse(PARENT, Some("a=1,b=2")), "several headers are one list");
    let newer = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
    assert!(!Parent::parse(newer, None).unwrap().sampled);
    for wrong in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Parent::parse(wrong, None), None, "{wrong}");
    }
    for state in ["", "a\nb", "\u{fc}"] {
        assert!(Parent::parse(PARENT, Some(state)).unwrap().state.is_none());
    }
}

#[test]
fn the_reason_of_a_failure_is_kept_without_secrets() {
    let tracer = Tracer::sampled(1.0, true);
    let hidden = tracer.hidden().unwrap();
    hidden.set(Redaction::of(["old-key"].into_iter()));
    hidden.set(Redaction::of(["sk_live_1"].into_iter()));
    let root = tracer.root(None);
    let mut failed = begin(&root, Kind::Internal, "pay", "payments").unwrap();
    // Its end would be cut in the middle of the secret.
    let before = "x".repeat(MAX_ATTRIBUTE_BYTES - 4);
    failed.fails(&format!("{before}sk_live_1"));
    failed.end(Some("trapped"), Duration::ZERO);
    let own = "panicked: no such key: c2tfbGl2ZV8x".to_owned();
    root.keep_guest(GuestSpan { name: "own".into(), error: Some(own), ..GuestSpan::default() });
    let spans = tracer.find(&all(&tracer)[0].trace.to_string()).unwrap().spans;
    let mut why: Vec<&str> = spans.iter().filter_map(|span| span.detail.as_deref()).collect();
    why.sort_unstable();
    assert_eq!(why, ["panicked: no such key: ***", &*format!("{before}***")]);
}

#[test]
fn a_stranger_gives_ids_and_decides_nothing() {
    let never = Tracer::sampled(0.0, true);
    let root = never.root(Parent::parse(PARENT, None));
    assert!(!root.is_recorded());
    assert!(root.traceparent().unwrap().ends_with("-00"), "{root:?}");
    assert!(never.root(None).traceparent().is_none());
    let unsampled = Parent::parse(&PARENT.replace("-01", "-00"), None).unwrap();
    let always = Tracer::sampled(1.0, true);
    assert!(always.root(Some(unsampled.clone())).is_recorded());
    assert!(!always.joined(Some(unsampled.clone())).is_recorded(), "inside, the first decision counts");
    assert!(never.joined(Parent::parse(PARENT, None)).is_recorded());
    let half = Tracer::sampled(0.5, true);
    let at_edge = |tracer: &Tracer, trusted| tracer.at_edge(|| Some(unsampled.clone()), trusted, Instant::now());
    assert!(!at_edge(&always, true).is_recorded(), "a proxy that is trusted decides");
    assert!(at_edge(&always, false).is_recorded());
    assert!(at_edge(&Tracer::sampled(1.0, false), true).is_recorded());
    let recorded = (0..2_000).filter(|_| half.root(Parent::parse(PARENT, None)).is_recorded()).count();
    assert!((800..1_200).contains(&recorded), "{recorded} of one id");
}

#[tokio::test]
async fn the_spans_of_a_request_have_the_times_of_one_clock() {
    tokio::time::pause();
    let tracer = Tracer::sampled(1.0, true);
    let began = Instant::now();
    let before = souk_manifest::clock::since_epoch();
    let root = tracer.at_edge(|| None, false, began);
    let outer = root.begin(Kind::Server, &"GET /".into(), &"".into(), began).unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    span(&outer.span(), "list", None);
    outer.end(None, Duration::from_secs(4));
    let trace = all(&tracer)[0].trace.to_string();
    let spans = tracer.find(&trace).unwrap().spans;
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    assert!(first.start >= before, "{first:?}");
    assert_eq!(second.start, first.start + Duration::from_secs(3));
}

#[test]
fn switched_off_no_call_has_a_span() {
    let off = Tracer::off();
    assert!(begin(&off.root(Parent::parse(PARENT, None)), Kind::Server, "x", "").is_none());
    assert!(off.joined(Parent::parse(PARENT, None)).traceparent().is_none());
}

#[test]
fn a_trace_is_a_tree_and_is_found_by_what_is_in_it() {
    let tracer = Tracer::sampled(1.0, true);
    let root = tracer.root(None);
    let mut outer = begin(&root, Kind::Server, "GET /orders", "gateway").unwrap();
    outer.note("http.route", Attribute::text("/orders"));
    outer.note("souk.request.id", Attribute::text("r-1"));
    span(&outer.span(), "list", Some("trapped"));
    outer.end(None, Duration::ZERO);
    span(&tracer.root(None), "other", None);
    let found = tracer.find("r-1").unwrap();
    let [first, second] = &found.spans[..] else { panic!("{found:?}") };
    assert_eq!((first.parent, second.parent), (None, Some(first.span)));
    assert_eq!(tracer.find(&found.trace.to_string()).unwrap().spans.len(), 2);
    let listed = |filter: Filter| tracer.list(&filter, 10).into_iter().map(|s| s.name.to_string()).collect::<Vec<_>>();
    assert_eq!(listed(Filter::default()), ["other", "GET /orders"]);
    assert_eq!(listed(Filter { errors: true, ..Filter::default() }), ["GET /orders"]);
    assert_eq!(listed(Filter { route: Some("/orders".into()), ..Filter::default() }), ["GET /orders"]);
    assert_eq!(listed(Filter { component: Some("gateway".into()), ..Filter::default() }), ["GET /orders"]);
    assert!(listed(Filter { slower_than: Some(Duration::from_secs(60)), ..Filter::default() }).is_empty());
}

#[test]
fn what_is_kept_is_bounded_in_traces_spans_and_bytes() {
    let tracer = Tracer::sampled(1.0, true);
    for n in 0..MAX_TRACES + 10 {
        span(&tracer.root(None), &n.to_string(), None);
    }
    let kept = all(&tracer);
    assert_eq!((kept.len(), &*kept.last().unwrap().name), (MAX_TRACES, "10"));
    let one = tracer.root(None);
    for _ in 0..MAX_TRACE_SPANS + 5 {
        span(&one, "x", None);
    }
    assert_eq!((all(&tracer)[0].spans, tracer.lost()), (MAX_TRACE_SPANS, 5));
    for _ in 0..MAX_TRACES {
        let mut begun = begin(&tracer.root(None), Kind::Client, "x", "").unwrap();
        (0..16).for_each(|_| begun.note("big", Attribute::text("ü".repeat(MAX_ATTRIBUTE_BYTES))));
        begun.end(None, Duration::ZERO);
    }
    assert!(all(&tracer).len() < MAX_TRACES / 2);
    // The newest trace alone: a guest makes its own spans as large as it may.
    let guests = tracer.root(None);
    for _ in 0..100 {
        let text = || Attribute::text("ü".repeat(MAX_ATTRIBUTE_BYTES));
        let attributes: Vec<_> = (0..64).map(|n| (n.to_string().into(), text())).collect();
        guests.keep_guest(GuestSpan { attributes, ..GuestSpan::default() });
    }
    let newest = all(&tracer).remove(0);
    let bytes: usize = tracer.find(&newest.trace.to_string()).unwrap().spans.iter().map(|span| span.bytes()).sum();
    assert!(newest.spans > 50 && bytes <= MAX_TRACE_MEMORY_BYTES, "{} spans with {bytes} bytes", newest.spans);
}

#[test]
fn a_tracestate_counts_towards_the_memory_of_its_spans() {
    let tracer = Tracer::sampled(1.0, true);
    let long = format!("a={}", "x".repeat(500));
    for state in [None, Some(long.as_str())] {
        span(&tracer.root(Parent::parse(PARENT, state)), "x", None);
    }
    let spans = tracer.find("4bf92f3577b34da6a3ce929d0e0e4736").unwrap().spans;
    let mut bytes: Vec<usize> = spans.iter().map(|span| span.bytes()).collect();
    bytes.sort_unstable();
    assert_eq!(bytes[1] - bytes[0], long.len());
}

#[test]
fn a_statement_is_shown_without_the_values_in_it() {
    for (statement, shown) in [
        ("SELECT *\n  FROM t1 WHERE id = ?1 AND n > 42", "SELECT * FROM t1 WHERE id = ?1 AND n > ?"),
        ("select $1, 'it''s', x_2 -- secret\n", "select $1, ?, x_2"),
        ("INSERT INTO a VALUES (1.5e3,'me@example.com',0x1F)", "INSERT INTO a VALUES (?,?,?)"),
        (r"SELECT E'a\'b', 7", "SELECT E?, ?"),
        ("SELECT $tag$ it's $$ 1 $tag$, 'x", "SELECT ?, ?"),
        ("SELECT /* 'a */ :p1, @p2, \"c 1\"", "SELECT :p1, @p2, ?"),
        ("SELECT /*/ secret */ 1 /* a /* b */ secret */", "SELECT ?"),
        (r#"SELECT "a"."b_1" FROM "t" WHERE "a" = "b""#, r#"SELECT "a"."b_1" FROM "t" WHERE "a" = "b""#),
        (r#"SELECT "it's" FROM t WHERE a = 'secret'"#, "SELECT ? FROM t WHERE a = ?"),
        (r"SELECT a LIKE'b\' AND c = 'secret'", "SELECT a LIKE? AND c = ?"),
    ] {
        assert_eq!(without_values(statement, Syntax::Standard), shown, "{statement}");
    }
    for (statement, shown) in [
        (
            r#"SELECT "id" FROM "users" WHERE "email" = "me@example.com" AND "name"="anna""#,
            r#"SELECT "id" FROM "users" WHERE "email" = ? AND "name"=?"#,
        ),
        (r#"INSERT INTO "a" ("b", "c") VALUES ("anna", "7")"#, r#"INSERT INTO "a" ("b", "c") VALUES (?, ?)"#),
        (r#"SELECT 7 FROM a JOIN b ON "a"."id" = "b"."a_id""#, r#"SELECT ? FROM a JOIN b ON "a"."id" = "b"."a_id""#),
        (r"SELECT `it's`, `a` FROM t WHERE a = 'b\' AND c = 'secret'", "SELECT ?, `a` FROM t WHERE a = ? AND c = ?"),
    ] {
        assert_eq!(without_values(statement, Syntax::Sqlite), shown, "{statement}");
    }
    for (statement, shown) in [
        (r#"SELECT "it's secret", `a` FROM b WHERE c = ?"#, "SELECT ?, `a` FROM b WHERE c = ?"),
        (r"SELECT 'it\'s secret', 'a\\', 'b'", "SELECT ?, ?, ?"),
        (r#"SELECT "a""b\"c", 7"#, "SELECT ?, ?"),
        ("SELECT 1 # it's\n, 'secret'", "SELECT ? , ?"),
    ] {
        assert_eq!(without_values(statement, Syntax::MySql), shown, "{statement}");
    }
    assert_eq!(statement::operation("  insert into a"), "INSERT");
    let statements = Statements::of("sqlite");
    for round in 0..2 {
        for n in 0..1_000 {
            let shown = statements.shown(&format!("select {n} from a where b = 'secret {n}'"));
            assert_eq!((&*shown.operation, &*shown.text), ("SELECT", "select ? from a where b = ?"), "{round}");
        }
    }
}

proptest! {
    #[test]
    fn no_header_and_no_statement_can_do_harm(text in "\\PC{0,80}", hex in "[0-9a-f-]{0,60}") {
        let _ = Parent::parse(&text, Some(&text));
        let _ = Parent::parse(&hex, None);
        let quoted = format!("a = '{}'", text.replace('\'', "''"));
        prop_assert_eq!(without_values(&quoted, Syntax::Standard), "a = ?");
        let _ = without_values(&text, Syntax::Standard);
        let _ = without_values(&text, Syntax::Sqlite);
        let named = format!("a = \"{}\"", text.replace('"', "\"\""));
        prop_assert_eq!(without_values(&named, Syntax::Sqlite), "a = ?");
        let escaped = format!("a = \"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#));
        prop_assert_eq!(without_values(&escaped, Syntax::MySql), "a = ?");
    }
}
