//! Traces and metrics leave by OTLP: a collector that knows nothing of the host gets whole trees, and nothing waits for it.

use super::golden;
use crate::harness::admin::{Api, tokens};
use crate::harness::app::texts;
use crate::harness::collector::{Collector, Received};
use crate::harness::spread::Spread;
use crate::harness::store::{Shop, order_body};
use crate::harness::{App, build, eventually};
use http::Method;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::collections::{BTreeMap, BTreeSet};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

type Spans = Vec<Received>;

/// The spans of each trace.
fn by_trace(spans: Spans) -> BTreeMap<Vec<u8>, Spans> {
    let mut traces: BTreeMap<Vec<u8>, Spans> = BTreeMap::new();
    spans.into_iter().for_each(|one| traces.entry(one.span.trace_id.clone()).or_default().push(one));
    traces
}

/// The ids of the parents of a trace that are none of its spans; with that of no parent where a span has none.
fn outer(spans: &[Received]) -> BTreeSet<Vec<u8>> {
    let ids: BTreeSet<_> = spans.iter().map(|one| &one.span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "a span came twice");
    let parents = spans.iter().map(|one| &one.span.parent_span_id);
    parents.filter(|parent| !ids.contains(parent)).cloned().collect()
}

/// A customer who orders and pays with this trace.
async fn order_and_pay(shop: &Shop) {
    let token = shop.customer().await;
    let (bearer, parent) = (format!("Bearer {token}"), format!("00-{TRACE}-{CLIENT}-01"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("traceparent", parent.as_str()),
        ("tracestate", "vendor=1"),
    ];
    let body = order_body(&[(1, 2)]).to_string().into_bytes();
    let made = shop.client.send(Method::POST, "/api/orders", &headers, Some(body)).await.expect(201);
    let url = made["paymentSession"]["url"].as_str().unwrap();
    let path = &url[url.find("/stripe-sandbox/pay/").unwrap()..];
    let headers = [("content-type", "application/x-www-form-urlencoded"), headers[2], headers[3]];
    shop.client.send(Method::POST, path, &headers, Some(Vec::new())).await.expect(200);
    shop.wait_for_events().await;
}

async fn one_tree(shop: &Shop, collector: &Collector) -> Spans {
    order_and_pay(shop).await;
    let wanted = [
        ("gateway", SpanKind::Server, "POST /api/..."),
        ("orders", SpanKind::Internal, "store:orders/orders"),
        ("gateway", SpanKind::Client, "store:orders/orders"),
        ("products", SpanKind::Client, "SELECT"),
        ("auth", SpanKind::Internal, "store:auth/accounts"),
        ("payments", SpanKind::Client, "POST"),
        ("stripe-sandbox", SpanKind::Server, "POST /stripe-sandbox/..."),
        ("webhook", SpanKind::Internal, "wasi:http/handler"),
        ("webhook", SpanKind::Producer, "store store:orders/payment-events"),
        ("orders", SpanKind::Consumer, "deliver store:orders/payment-events"),
        ("orders", SpanKind::Client, "INSERT"),
    ];
    eventually("the collector has one tree of all that happened", || async {
        let trace = by_trace(collector.spans()).remove(&hex::decode(TRACE).unwrap())?;
        let has = |(component, kind, name): &(&str, SpanKind, &str)| {
            trace.iter().any(|one| {
                one.attribute("souk.component") == *component
                    && one.span.kind == i32::from(*kind)
                    && one.span.name.starts_with(name)
            })
        };
        let missing: Vec<_> = wanted.iter().filter(|wanted| !has(wanted)).collect();
        (missing.is_empty() && outer(&trace) == BTreeSet::from([hex::decode(CLIENT).unwrap()])).then_some(trace)
    })
    .await
}

#[tokio::test]
async fn what_a_component_tells_opentelemetry_joins_the_trace_the_collector_and_the_log() {
    let collector = Collector::start().await;
    let host = collector.of(App::alone("sdks")).start().await;
    let request =
        host.client().open(Method::GET, "/spin-6/otel").header("traceparent", format!("00-{TRACE}-{CLIENT}-01"));
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), TRACE);
    let trace = eventually("the collector has the tree with the guest's span in it", || async {
        let trace = by_trace(collector.spans()).remove(&hex::decode(TRACE).unwrap())?;
        (outer(&trace) == BTreeSet::from([hex::decode(CLIENT).unwrap()])).then_some(trace)
    })
    .await;
    let named = |name: &str| trace.iter().find(|one| one.span.name == name).unwrap_or_else(|| panic!("no {name}"));
    let (work, write) = (named("the guest's work"), named("set-many default"));
    assert_eq!(work.attribute("souk.component"), "spin-6");
    assert_eq!((work.attribute("guest.kind").as_str(), work.span.events[0].name.as_str()), ("a test", "stored"));
    assert_eq!(work.span.parent_span_id, named("wasi:http/handler#handle").span.span_id);
    assert_eq!(write.span.parent_span_id, work.span.span_id, "what the guest does within its span is below it");
    let metric = eventually("its metric comes", || async { collector.metric("guest.work") }).await;
    assert_eq!(metric.unit, "{pieces}");
    let log = eventually("its log record comes", || async { collector.logs().into_iter().next() }).await;
    assert_eq!((log.trace_id, log.span_id), (work.span.trace_id.clone(), work.span.span_id.clone()));
    let line = host.wait_for_log("the guest's work is done").await;
    assert!(line.contains("WARN") && line.contains("spin-6"), "{line}");
}

#[tokio::test]
async fn order_payment_webhook_and_delivery_are_one_tree_for_a_collector() {
    let collector = Collector::start().await;
    let shop = Shop::of(collector.of(App::store_alone())).await;
    let trace = one_tree(&shop, &collector).await;
    for one in &trace {
        let Received { span, service, .. } = one;
        assert_eq!((service.as_str(), span.trace_state.as_str()), ("store", "vendor=1"), "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert_ne!(span.status.as_ref().unwrap().code, i32::from(StatusCode::Error), "{span:?}");
    }
    assert_eq!(collector.authorization().as_deref(), Some("Bearer collector"));
    shop.client.get("/api/products/1").await.expect(200);
    shop.get("/api/products/0", "").await;
    shop.host.stop().await;
    // The host has ended: all has been sent.
    let traces = by_trace(collector.spans());
    for spans in traces.values() {
        assert_eq!(outer(spans).len(), 1, "{:#?}", spans.iter().map(|one| &one.span).collect::<Vec<_>>());
    }
    // Everything that crossed a boundary was counted, and is in one of the trees.
    let all: Spans = traces.into_values().flatten().collect();
    let number = |kind: SpanKind, fits: &dyn Fn(&Received) -> bool| {
        all.iter().filter(|one| one.span.kind == i32::from(kind) && fits(one)).count() as u64
    };
    let (is_http, is_link) = (
        |one: &Received| !one.attribute("http.request.method").is_empty(),
        |one: &Received| one.span.name.contains('#'),
    );
    let counted = [
        ("http.server.request.duration", number(SpanKind::Server, &|_| true)),
        ("rpc.server.call.duration", number(SpanKind::Internal, &|_| true)),
        ("rpc.client.call.duration", number(SpanKind::Client, &is_link)),
        ("http.client.request.duration", number(SpanKind::Client, &is_http)),
        ("db.client.operation.duration", number(SpanKind::Client, &|one| !is_http(one) && !is_link(one))),
        ("messaging.client.operation.duration", number(SpanKind::Producer, &|_| true)),
        ("messaging.process.duration", number(SpanKind::Consumer, &|_| true)),
    ];
    for (name, spans) in counted {
        assert_eq!((name, collector.count(name)), (name, spans), "not every one is in exactly one tree");
        assert!(spans > 0, "{name}");
    }
}

#[tokio::test]
async fn each_request_of_the_golden_record_is_one_tree_also_with_services_that_are_down() {
    let collector = Collector::start().await;
    let app = collector.of(App::store_alone().variable("open_access", true));
    let shop = golden::replay(Shop::of(app).await).await;
    shop.host.stop().await;
    let traces = by_trace(collector.spans());
    assert!(traces.len() > 100, "{} traces", traces.len());
    for spans in traces.values() {
        assert_eq!(outer(spans).len(), 1, "{:#?}", spans.iter().map(|one| &one.span).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn it_is_one_tree_on_three_hosts_too() {
    let collector = Collector::start().await;
    let app = App::store_alone().spread_as(Spread::new("store"));
    let shop = Shop::of(collector.of(app)).await;
    let trace = one_tree(&shop, &collector).await;
    let hosts: BTreeSet<&str> = trace.iter().map(|one| one.instance.as_str()).collect();
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    assert!(trace.iter().all(|one| one.span.trace_state == "vendor=1"), "a host has lost the trace's state");
}

#[tokio::test]
async fn a_collector_that_is_down_holds_nothing_up_and_what_it_missed_is_counted() {
    let collector = Collector::start().await;
    collector.refuse(true);
    let app = collector.of(App::alone("rogue").administered());
    let host = app.start().await;
    let api = Api::of(&host);
    host.client().get("/rogue/boom").await.expect_unavailable();
    let lost = || async {
        let text = api.get("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with("souk_export_lost_spans_total "))?.to_owned();
        (!line.ends_with(" 0")).then_some(())
    };
    eventually("the lost spans are counted", lost).await;
    host.wait_for_log("traces are dropped: the collector at").await;
    collector.refuse(false);
    host.client().get("/rogue/boom").await.expect_unavailable();
    host.wait_for_log("takes traces again").await;
    let failed = eventually("a span that failed arrives", || async {
        let spans = collector.spans();
        spans.into_iter().find(|one| one.attribute("error.type") == "trapped" && one.span.kind == 1)
    })
    .await;
    let status = failed.span.status.unwrap();
    assert_eq!(status.code, i32::from(StatusCode::Error));
    host.stop().await;
    assert_eq!(collector.metrics(), 1, "the metrics of a host that stops");
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_refused_at_the_start() {
    let app = App::alone("rogue").environment("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317");
    let refused = app.start_fails().await;
    assert!(refused.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not the URL") && refused.contains("fix: "), "{refused}");
}

#[tokio::test]
async fn arguments_are_in_traces_where_the_manifest_allows_it_for_who_may_call_and_without_secrets() {
    let collector = Collector::start().await;
    let allow = "[component.rogue.tool.souk]\ntrace_arguments = true\n";
    let app = collector.of(App::alone("rogue").administered()).append(allow);
    // Secret for whoever has it: it is left out wherever it goes.
    let granted = r#"greeting = "{{ greeting }}""#;
    let app = app.replace(granted, &format!(r#"{granted}, token = "{{{{ token }}}}""#));
    let host = app.start().await;
    let (read, full) = tokens(&app, &[]).await;
    let client = host.client();
    client.get("/rogue/insert-row/a-note-and-swordfish").await.expect(200);
    client.get("/other/answer/7").await.expect(200);
    client.get("/rogue/boom").await.expect_unavailable();
    let texts = |token: String| {
        let api = Api::of(&host).with(&token);
        async move {
            let mut all = String::new();
            for trace in api.get("/v1/traces?limit=100").await.json().as_array().unwrap() {
                let one = api.get(&format!("/v1/traces/{}", trace["traceId"].as_str().unwrap())).await;
                all += &one.text();
            }
            all
        }
    };
    let shown = eventually("the calls are recorded", || async {
        let shown = texts(full.clone()).await;
        (shown.contains("a-note-and") && shown.contains("boom, with")).then_some(shown)
    })
    .await;
    assert!(shown.contains("a-note-and-***") && !shown.contains("a-note-and-swordfish"), "{shown}");
    assert!(shown.contains(r#""souk.result":"{\"ok\":"#), "{shown}");
    assert!(!shown.contains(r#"\"n\":7"#), "`calm` does not allow it: {shown}");
    let hidden = texts(read).await;
    assert!(hidden.contains("\"trapped\""), "{hidden}");
    for secret in ["a-note-and", "souk.arguments", "souk.result", "boom, with"] {
        assert!(!hidden.contains(secret), "{secret} is in {hidden}");
    }
    host.stop().await;
    let sent = format!("{:?}", collector.spans().iter().map(|one| &one.span).collect::<Vec<_>>());
    assert!(!sent.contains("souk.arguments") && !sent.contains("a-note-and"), "{sent}");
}

/// The lines of a page's blocks of commands.
fn commands(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(build::root().join("docs").join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
}

#[tokio::test]
async fn the_commands_of_the_page_about_observing_run_as_they_stand() {
    let shop = Shop::of(App::store_alone().administered()).await;
    let api = Api::of(&shop.host);
    let trace = eventually("a trace is kept", || async {
        let (out, _) = texts(&shop.app.souk("traces", &[]).await);
        out.split_whitespace().next().filter(|id| id.len() == 32).map(str::to_owned)
    })
    .await;
    let all = commands("observe.md");
    assert!(all.len() >= 7, "{all:?}");
    for line in all {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["curl", "-s", url] => {
                let path = url.strip_prefix("http://127.0.0.1:3001").unwrap_or_else(|| panic!("{line}"));
                assert_eq!(api.get(path).await.status, 200, "{line}");
            }
            // What is started with these is in other scenarios; here they must be understood.
            [.., "souk", "up"] => {}
            ["souk", "up", arguments @ .., "2>", _] => {
                assert!(shop.app.souk("up", &[arguments, &["--help"]].concat()).await.status.success(), "{line}");
            }
            ["souk", "trace", _] => {
                let (out, err) = texts(&shop.app.souk("trace", &[&trace]).await);
                assert!(out.starts_with(&format!("trace {trace}")), "{line}: {out}{err}");
            }
            ["souk", "profile", _, "--for", _] => {
                let file = shop.app.path("profile.json");
                let arguments = ["passwords", "--for", "1s", "--out", file.to_str().unwrap()];
                let busy = async { futures::join!(shop.customer(), shop.customer()) };
                let (output, _) = futures::join!(shop.app.souk("profile", &arguments), busy);
                assert!(output.status.success() && file.exists(), "{line}: {:?}", texts(&output));
            }
            ["souk", command, arguments @ ..] => {
                let output = shop.app.souk(command, arguments).await;
                assert!(output.status.success(), "{line}: {:?}", texts(&output));
            }
            _ => panic!("nobody tries the command {line:?}"),
        }
    }
}
