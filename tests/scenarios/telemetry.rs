//! Traces and metrics over OTLP: an independent collector gets complete trees, and no request waits for the collector.

use super::golden;
use crate::harness::admin::{Api, tokens};
use crate::harness::app::texts;
use crate::harness::collector::{Collector, ReceivedSpan};
use crate::harness::nats::Nats;
use crate::harness::redundant_store::{PARTS, RedundantStore};
use crate::harness::spread::Spread;
use crate::harness::store::{self, PASSWORD, Shop, order_body};
use crate::harness::stripe_api::StripeApi;
use crate::harness::{App, Client, build, eventually};
use futures::StreamExt as _;
use http::Method;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

type Spans = Vec<ReceivedSpan>;

/// The spans of each trace.
fn by_trace(spans: Spans) -> BTreeMap<Vec<u8>, Spans> {
    let mut traces: BTreeMap<Vec<u8>, Spans> = BTreeMap::new();
    spans.into_iter().for_each(|one| traces.entry(one.span.trace_id.clone()).or_default().push(one));
    traces
}

/// The parent ids in a trace that belong to none of its spans; among them the empty id, if a span has no parent.
fn outer(spans: &[ReceivedSpan]) -> BTreeSet<Vec<u8>> {
    let ids: BTreeSet<_> = spans.iter().map(|one| &one.span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "a span came twice");
    let parents = spans.iter().map(|one| &one.span.parent_span_id);
    parents.filter(|parent| !ids.contains(parent)).cloned().collect()
}

/// Orders and pays as a customer, with the trace of `traceparent`.
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
async fn telemetry_of_a_component_joins_the_trace_and_reaches_the_collector_and_the_log() {
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
    assert_eq!(write.span.parent_span_id, work.span.span_id, "the host call within the guest's span is its child");
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
        let ReceivedSpan { span, service, .. } = one;
        assert_eq!((service.as_str(), span.trace_state.as_str()), ("store", "vendor=1"), "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert_ne!(span.status.as_ref().unwrap().code, i32::from(StatusCode::Error), "{span:?}");
    }
    assert_eq!(collector.authorization().as_deref(), Some("Bearer collector"));
    shop.client.get("/api/products/1").await.expect(200);
    shop.get("/api/products/0", "").await;
    shop.host.stop().await;
    // The host has ended, so it has sent everything.
    let traces = by_trace(collector.spans());
    for spans in traces.values() {
        assert_eq!(outer(spans).len(), 1, "{:#?}", spans.iter().map(|one| &one.span).collect::<Vec<_>>());
    }
    // Every request, call and delivery was counted, and is in exactly one of the trees.
    let all: Spans = traces.into_values().flatten().collect();
    let number = |kind: SpanKind, fits: &dyn Fn(&ReceivedSpan) -> bool| {
        all.iter().filter(|one| one.span.kind == i32::from(kind) && fits(one)).count() as u64
    };
    let (is_http, is_link) = (
        |one: &ReceivedSpan| !one.attribute("http.request.method").is_empty(),
        |one: &ReceivedSpan| one.span.name.contains('#'),
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
        assert_eq!((name, collector.count(name)), (name, spans), "some are in no tree, or in several");
        assert!(spans > 0, "{name}");
    }
}

#[tokio::test]
async fn an_outside_server_gets_the_trace_with_the_request_to_it() {
    let (stripe, collector) = (StripeApi::start().await, Collector::start().await);
    let shop = Shop::of(collector.of(stripe.store())).await;
    let token = shop.customer().await;
    stripe.asked();
    let (bearer, parent) = (format!("Bearer {token}"), format!("00-{TRACE}-{CLIENT}-01"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("traceparent", parent.as_str()),
        ("tracestate", "vendor=1"),
    ];
    let body = order_body(&[(1, 2)]).to_string().into_bytes();
    shop.client.send(Method::POST, "/api/orders", &headers, Some(body)).await.expect(201);
    let asked = stripe.asked().remove(0);
    let received = asked.headers["traceparent"].to_str().unwrap();
    assert_eq!(asked.headers["tracestate"], "vendor=1");
    let span = received.strip_prefix(&format!("00-{TRACE}-")).and_then(|rest| rest.strip_suffix("-01"));
    let span = hex::decode(span.unwrap_or_else(|| panic!("{received}"))).unwrap();
    let sent = eventually("the span of the request comes", || async {
        collector.spans().into_iter().find(|one| one.span.span_id == span)
    })
    .await;
    assert_eq!((sent.attribute("souk.component").as_str(), sent.span.kind), ("payments", SpanKind::Client.into()));
}

#[tokio::test]
async fn the_collector_of_opentelemetry_takes_the_whole_tree_the_metrics_and_the_log_records() {
    let collector = Collector::behind_opentelemetrys().await;
    let shop = Shop::of(collector.of(App::store_alone())).await;
    let trace = one_tree(&shop, &collector).await;
    assert!(trace.len() > 40, "{} spans", trace.len());
    shop.host.stop().await;
    for spans in by_trace(collector.spans()).values() {
        assert_eq!(outer(spans).len(), 1, "{:#?}", spans.iter().map(|one| &one.span).collect::<Vec<_>>());
    }
    assert!(collector.count("http.server.request.duration") > 0);
    // A component's own span, metric and log record.
    let host = collector.of(App::alone("sdks")).start().await;
    // Its answer has no content type, which the client would take for a fault.
    let answer = host.client().open(Method::GET, "/spin-6/otel").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    eventually("its span comes", || async {
        collector.spans().into_iter().find(|one| one.span.name == "the guest's work")
    })
    .await;
    eventually("its metric comes", || async { collector.metric("guest.work") }).await;
    eventually("its log record comes", || async { collector.logs().into_iter().next() }).await;
    host.stop().await;
    let log = collector.log();
    for wrong in ["\terror\t", "\twarn\t"] {
        assert!(!log.contains(wrong), "{log}");
    }
}

#[tokio::test]
async fn it_is_one_tree_for_the_collector_of_opentelemetry_on_three_hosts_too() {
    let collector = Collector::behind_opentelemetrys().await;
    let shop = Shop::of(collector.of(App::store_alone().spread_as(Spread::new("store")))).await;
    let trace = one_tree(&shop, &collector).await;
    let hosts: BTreeSet<&str> = trace.iter().map(|one| one.instance.as_str()).collect();
    assert_eq!(hosts.len(), 3, "{hosts:?}");
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

/// Request number `n`, which is its trace's id: a read, or every third one an order.
async fn ask(gateway: Client, token: String, n: u32) {
    let (bearer, parent) = (format!("Bearer {token}"), format!("00-{n:032x}-{n:016x}-01"));
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("traceparent", parent.as_str())];
    let _unless_its_host_dies = match n % 3 {
        0 => {
            let body = order_body(&[(1, 1)]).to_string().into_bytes();
            gateway.try_send(Method::POST, "/api/orders", &headers, Some(body)).await
        }
        _ => gateway.try_send(Method::GET, "/api/products/1", &headers, None).await,
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_hosts_were_killed_no_tree_has_a_part_of_another() {
    const REQUESTS: u32 = 40;
    let collector = Collector::start().await;
    let mut hosts = RedundantStore::start_with(Nats::start(), |app| collector.of(app)).await;
    let user = json!({ "name": "Ann", "email": store::fresh_email(), "password": PASSWORD });
    let made = store::send(&hosts.gateways()[0], Method::POST, "/api/auth/register", "", Some(user)).await;
    let (token, mut next) = (store::token(&made), 1);
    // Each part's host is killed amid requests; the last requests meet whole hosts again.
    for part in (0..PARTS.len()).map(Some).chain([None]) {
        let gateways = hosts.gateways();
        let numbers = next..next + REQUESTS;
        let asked = numbers.map(|n| ask(gateways[n as usize % 2].clone(), token.clone(), n));
        let mut answers = futures::stream::iter(asked).buffer_unordered(8);
        let mut answered = 0;
        while answers.next().await.is_some() {
            answered += 1;
            if let Some(part) = part.filter(|_| answered == REQUESTS / 2) {
                hosts.kill(part, 0);
            }
        }
        next += REQUESTS;
        if let Some(part) = part {
            hosts.up(part, 0).await;
        }
    }
    let traces = eventually("the trees of the last requests are whole", || async {
        let traces = by_trace(collector.spans());
        let whole = |n: u32| {
            let client = BTreeSet::from([u64::from(n).to_be_bytes().to_vec()]);
            traces.get(u128::from(n).to_be_bytes().as_slice()).is_some_and(|spans| outer(spans) == client)
        };
        (next - REQUESTS..next).all(whole).then_some(traces)
    })
    .await;
    let ids: BTreeMap<&[u8], &[u8]> =
        traces.values().flatten().map(|one| (one.span.span_id.as_slice(), one.span.trace_id.as_slice())).collect();
    assert_eq!(ids.len(), traces.values().map(Vec::len).sum::<usize>(), "a span is in two trees");
    for one in traces.values().flatten() {
        let of_parent = ids.get(one.span.parent_span_id.as_slice());
        assert!(of_parent.is_none_or(|trace| *trace == one.span.trace_id), "its parent is in another tree: {one:?}");
    }
    for n in 1..next {
        let Some(spans) = traces.get(u128::from(n).to_be_bytes().as_slice()) else { continue };
        let requests: Vec<_> = spans.iter().filter(|one| one.span.kind == i32::from(SpanKind::Server)).collect();
        assert!(requests.len() <= 1, "a tree has two requests: {requests:?}");
        let from_client = requests.iter().all(|one| one.span.parent_span_id == u64::from(n).to_be_bytes());
        assert!(from_client, "{requests:?}");
        let ordered = spans.iter().any(|one| one.attribute("souk.component") == "orders");
        assert!(!ordered || n % 3 == 0, "a read has a part of an order: {spans:?}");
    }
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
    let line = host.wait_for_log("traces are dropped: the collector at").await;
    assert!(line.contains("http://127.0.0.1:") && !line.contains("/v1/"), "{line}");
    collector.refuse(false);
    host.client().get("/rogue/boom").await.expect_unavailable();
    host.wait_for_log("accepts traces again").await;
    let failed = eventually("a span that failed arrives", || async {
        let spans = collector.spans();
        spans.into_iter().find(|one| one.attribute("error.type") == "trapped" && one.span.kind == 1)
    })
    .await;
    let status = failed.span.status.unwrap();
    assert_eq!(status.code, i32::from(StatusCode::Error));
    assert_eq!(status.message, "trapped", "what the component printed stays here");
    host.stop().await;
    assert_eq!(collector.metrics(), 1, "the metrics of a host that stops");
}

#[tokio::test]
async fn an_invalid_collector_url_is_refused_at_the_start() {
    let app = App::alone("rogue").environment("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317");
    let refused = app.start_fails().await;
    assert!(refused.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not the URL") && refused.contains("fix: "), "{refused}");
}

#[tokio::test]
async fn arguments_are_in_traces_where_the_manifest_allows_it_for_who_may_call_and_without_secrets() {
    let collector = Collector::start().await;
    let allow = "[component.rogue.tool.souk]\ntrace_arguments = true\n";
    let app = collector.of(App::alone("rogue").administered()).append(allow);
    // The component has a secret variable, whose value is replaced wherever it occurs.
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

/// The lines in the command blocks of a page.
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
            // Other scenarios start hosts with these arguments; here they must only be valid.
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
