//! HTTP requests to components on another host, which go over NATS: by a route, and by an internal request.

use super::remote::Pair;
use crate::harness::App;
use crate::harness::nats::Nats;
use http::Method;

#[tokio::test]
async fn a_route_is_answered_by_any_host_and_the_request_arrives_as_it_was() {
    let pair = Pair::start().await;
    // The second host runs no component with a route.
    let client = pair.callee.client();
    assert_eq!(client.get("/other/self/hello").await.expect(200), "hello");
    assert_eq!(client.get("/other/answer/9").await.expect(200), 9);
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let kind = [("content-type", "application/x-bytes"), ("x-twice", "a"), ("x-twice", "b")];
    let echo = client.send(Method::POST, "/other/self/echo", &kind, Some(body.clone())).await;
    assert_eq!((echo.status, echo.header("content-type")), (200, Some("application/x-bytes")));
    assert_eq!(echo.body, body);
    let headers = [("x-request-id", "given-1"), ("x-twice", "a"), ("x-twice", "b"), ("spin-forged", "1")];
    let shown = client.send(Method::GET, "/other/self/headers?q=1", &headers, None).await;
    assert_eq!(shown.header("x-request-id"), Some("given-1"));
    let (here, text) = (pair.client().send(Method::GET, "/other/self/headers?q=1", &headers, None).await, shown.text());
    assert!(text.contains("/other/self/headers?q=1") && text.contains("spin-client-addr"), "{text}");
    assert_eq!(here.json().as_object().map(|o| o.len()), shown.json().as_object().map(|o| o.len()));
    let head = client.send(Method::HEAD, "/other/self/declared/77", &[], None).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("77")));
    assert_eq!(client.get("/other/self/status/204").await.status, 204);
    client.get("/other/self/boom").await.expect(500);
    client.get("/hasty/self/hold/600000").await.expect(504);
    assert_eq!(client.get("/other/self/method").await.expect(200), "GET");
}

#[tokio::test]
async fn a_body_that_no_message_holds_is_413_and_a_response_502() {
    let pair = Pair::of(App::alone("rogue"), Nats::start_with("max_payload: 65536")).await;
    let client = pair.callee.client();
    let post = |size: usize| client.send(Method::POST, "/other/self/length", &[], Some(vec![b'x'; size]));
    assert_eq!(post(50_000).await.expect(200), 50_000);
    assert!(post(70_000).await.expect(413)["message"].as_str().unwrap().contains("larger"));
    client.get("/other/self/flood").await.expect(502);
    pair.caller.wait_for_log("max_payload").await;
    assert_eq!(post(1).await.expect(200), 1);
}

#[tokio::test]
async fn a_route_whose_component_no_host_runs_is_503_and_its_hosts_death_502() {
    let pair = Pair::start().await;
    let client = pair.callee.client();
    let held = client.clone();
    let call =
        tokio::spawn(async move { held.send(Method::POST, "/other/self/hold/600000", &[], Some(Vec::new())).await });
    pair.caller.wait_for_log("holding on").await;
    drop(pair.caller);
    call.await.unwrap().expect(502);
    let answer = client.get("/other/self/hello").await;
    answer.expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_internal_request_reaches_a_component_on_another_host() {
    let app = App::alone("rogue").replace(
        "[component.front.dependencies]",
        "allowed_outbound_hosts = [\"http://other.spin.internal\"]\n[component.front.dependencies]",
    );
    let nats = Nats::start();
    let rest = app
        .start_at(
            "127.0.0.1:0",
            "state-1",
            &["--nats", &nats.url(), "--only", "rogue,fresh,calm,other,hasty,front-fresh"],
        )
        .await;
    let front = app.start_at("127.0.0.1:0", "state", &["--nats", &nats.url(), "--only", "front"]).await;
    assert_eq!(front.client().get("/rogue/self/internal/other/self/hello").await.expect(200), "hello");
    assert_eq!(front.client().get("/rogue/self/internal/other/answer/3").await.expect(200), 3);
    rest.stop().await;
    front.client().get("/rogue/self/internal/other/self/hello").await.expect(502);
}
