//! Traces: the spans of each request are one tree, and clients cannot decide what is recorded.

use crate::harness::admin::{Api, tokens};
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::store::{PASSWORD, Shop, send};
use crate::harness::{App, eventually};
use crate::scenarios::nest::ACCOUNTS;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

async fn list(api: &Api, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/v1/traces?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

async fn spans(api: &Api, id: &str) -> Vec<Value> {
    let answer = api.get(&format!("/v1/traces/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["spans"].as_array().unwrap().clone()
}

/// Whether the spans are one tree: one span has no parent, and the parents of all others are among the spans.
fn is_a_tree(spans: &[Value]) -> bool {
    let ids: BTreeSet<_> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), spans.len(), "a span is there twice: {spans:#?}");
    let roots = spans.iter().filter(|span| !span["parentId"].as_str().is_some_and(|id| ids.contains(id)));
    roots.count() == 1
}

#[tokio::test]
async fn an_order_its_payment_and_its_delivery_are_each_one_tree() {
    let shop = Shop::of(App::store_alone().administered()).await;
    let api = Api::of(&shop.host).with(&tokens(&shop.app, &[]).await.0);
    let ann = shop.customer().await;
    let (order, cents) = shop.small_order(&ann).await;
    shop.pay(&order, cents).await;
    shop.wait_for_events().await;
    let (id, delivered) = eventually("the delivery is in a trace", || async {
        let all = list(&api, "component=orders&limit=1000").await;
        for trace in all {
            let id = trace["traceId"].as_str().unwrap();
            let spans = spans(&api, id).await;
            if spans.iter().any(|span| span["kind"] == "consumer") && is_a_tree(&spans) {
                return Some((id.to_owned(), spans));
            }
        }
        None
    })
    .await;
    for (component, kind, name) in [
        ("webhook", "server", "POST /payments/webhook"),
        ("webhook", "internal", "wasi:http/handler#handle"),
        ("webhook", "producer", "store store:orders/payment-events"),
        ("orders", "consumer", "deliver store:orders/payment-events"),
        ("orders", "internal", "store:orders/payment-events"),
        ("orders", "client", ""),
    ] {
        let found = delivered.iter().any(|span| {
            span["component"] == component && span["kind"] == kind && span["name"].as_str().unwrap().starts_with(name)
        });
        assert!(found, "{kind} {name} of {component} is missing: {delivered:#?}");
    }
    // Every other request is a tree, too: with links, SQL statements, key-value and HTTP.
    let all = eventually("every trace is one tree", || async {
        let mut all = Vec::new();
        for trace in list(&api, "limit=1000").await {
            let spans = spans(&api, trace["traceId"].as_str().unwrap()).await;
            if !is_a_tree(&spans) {
                return None;
            }
            all.extend(spans);
        }
        Some(all)
    })
    .await;
    let text = serde_json::to_string(&all).unwrap();
    for secret in [ann.as_str(), "@example.com"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for (component, ends) in [("auth", " auth"), ("products", "SELECT"), ("payments", "POST"), ("orders", "INSERT")] {
        let found = all.iter().any(|span| {
            span["component"] == component && span["kind"] == "client" && span["name"].as_str().unwrap().ends_with(ends)
        });
        assert!(found, "{component} has no span of {ends}: {text}");
    }
    let (out, err) = texts(&shop.app.souk("traces", &["--component", "webhook"]).await);
    assert!(out.contains(&id), "{out}{err}");
    let (out, err) = texts(&shop.app.souk("trace", &[&id]).await);
    assert!(out.contains("POST /payments/webhook (webhook)") && out.contains("deliver store:"), "{out}{err}");
}

#[tokio::test]
async fn a_client_can_set_the_trace_id_but_not_what_is_recorded() {
    let app = App::alone("rogue").administered().environment("OTEL_TRACES_SAMPLER", "traceidratio");
    let host = app.start().await;
    let api = Api::of(&host);
    assert_eq!(api.get("/v1/traces").await.status, 401);
    let (read, full) = tokens(&app, &[]).await;
    let (api, full) = (api.with(&read), api.with(&full));
    let client = host.client();
    let send = |parent: &'static str| client.open(Method::GET, "/rogue/boom").header("traceparent", parent).send();
    send(PARENT).await.unwrap();
    // An invalid `traceparent` is ignored.
    send("00-nonsense").await.unwrap();
    let failed = eventually("both are recorded", || async {
        let failed = list(&api, "errors=true").await;
        (failed.len() == 2).then_some(failed)
    })
    .await;
    let followed = failed.iter().find(|trace| trace["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    // The spans of the request, the component, the link and the callee.
    assert_eq!((&followed["status"], &followed["spans"]), (&"error".into(), &4.into()), "{followed}");
    let spans_of = |api: &Api| {
        let api = api.clone();
        async move { spans(&api, "4bf92f3577b34da6a3ce929d0e0e4736").await }
    };
    let spans = spans_of(&api).await;
    assert_eq!(spans[0]["parentId"], "00f067aa0ba902b7");
    assert!(
        spans.iter().all(|span| span["detail"].is_null()),
        "the read token must not show a component's error: {spans:#?}"
    );
    let told = |span: &Value| span["error"] == "trapped" && span["detail"].as_str().unwrap_or("").contains("rogue");
    let spans = spans_of(&full).await;
    assert!(spans.iter().any(told), "{spans:#?}");
    assert!(list(&api, "slower=3600000").await.is_empty());
    assert_eq!(api.get("/v1/traces?slower=soon").await.status, 400);
    assert_eq!(api.get("/v1/traces/0123").await.status, 404);
}

#[tokio::test]
async fn without_a_watcher_nothing_is_recorded() {
    let app = App::alone("rogue");
    let host = app.start().await;
    host.client().get("/rogue/boom").await.expect_unavailable();
    let api = Api::on_socket(&app);
    assert!(list(&api, "").await.is_empty());
    assert!(api.get("/v1/traces/0123").await.text().contains("--admin"));
}

#[tokio::test]
async fn a_call_of_a_nest_service_is_measured_and_is_a_span_of_its_trace() {
    let nats = Nats::start_with("max_payload: 8MB");
    let app = App::store_alone().shared_secrets();
    let app = app.replace("\"store:auth/accounts@1.0.0\" = { component = \"auth\" }\n", "").append(ACCOUNTS);
    let app = app.argument("--nats").argument(nats.url()).administered();
    let host = app.start().await;
    // No service is running.
    let proof = json!({ "email": "nest@example.com", "password": PASSWORD });
    assert_eq!(send(&host.client(), Method::POST, "/api/auth/login", "", Some(proof)).await.status, 503);
    let api = Api::on_socket(&app);
    eventually("the call is in a trace", async || {
        for trace in list(&api, "component=gateway&limit=1000").await {
            let is_call = |span: &Value| {
                let keys = ["component", "kind", "name", "error"].map(|key| span[key].as_str().unwrap_or_default());
                keys == ["gateway", "client", "store:auth/accounts@1.0.0#login", "unavailable"]
            };
            if spans(&api, trace["traceId"].as_str().unwrap()).await.iter().any(is_call) {
                return Some(());
            }
        }
        None
    })
    .await;
    let metrics = api.get("/metrics").await.text();
    let series = "rpc_client_call_duration_seconds_count{error_type=\"unavailable\",\
                  rpc_method=\"store:auth/accounts@1.0.0#login\",souk_component=\"gateway\",souk_target=\"NestJS\"}";
    assert!(metrics.contains(series), "{metrics}");
}
