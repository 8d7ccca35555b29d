//! Spin's middleware, requests to the application's own routes (`self`), and static responses in the manifest.

use crate::harness::App;
use http::Method;

fn app() -> App {
    App::alone("middleware")
}

#[tokio::test]
async fn a_request_passes_the_middleware_in_order_and_so_does_its_response_on_its_way_back() {
    let host = app().start().await;
    let answer = host.client().get("/base/there").await;
    assert_eq!(answer.text(), "path /base/there; route /base/...; base /base; passed outer,inner");
    let through: Vec<_> = answer.headers.get_all("x-through").iter().collect();
    assert_eq!(through, ["inner", "outer"]);
}

#[tokio::test]
async fn a_middleware_has_its_own_grants_and_what_it_inherits() {
    let host = app().start().await;
    let answer = host.client().get("/base/").await;
    assert_eq!((answer.header("x-store-outer"), answer.header("x-store-inner")), (Some("denied"), Some("open")));
}

#[tokio::test]
async fn bodies_pass_the_middleware_whole() {
    let host = app().start().await;
    for length in [0, 1, 900_000] {
        let body = vec![b'x'; length];
        let answer = host.client().send(Method::POST, "/base/echo", &[], Some(body.clone())).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "{} of {length} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn a_middleware_can_answer_without_forwarding() {
    let host = app().start().await;
    for name in ["outer", "inner"] {
        let answer = host.client().send(Method::GET, "/base/", &[("x-stop", name)], None).await;
        assert_eq!((answer.status, answer.text()), (202, format!("stopped by {name}")));
    }
}

#[tokio::test]
async fn a_panic_of_a_middleware_ends_its_own_request_alone() {
    let host = app().start().await;
    let answer = host.client().get("/base/boom").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("swordfish"));
    assert_eq!(host.client().get("/base/").await.status, 200);
}

#[tokio::test]
async fn requests_inside_the_application_pass_the_middleware_too() {
    let host = app().start().await;
    let answer = host.client().get("/base/ask?http://app.spin.internal/x").await;
    assert_eq!(answer.text(), "200 path /x; route /...; base /; passed outer,inner");
}

#[tokio::test]
async fn a_component_with_the_grant_asks_the_applications_own_routes() {
    let host = app().start().await;
    let client = host.client();
    for url in ["http://self/base/x", "http://self.alt/base/x", "/base/x"] {
        let answer = client.get(&format!("/base/ask?{url}")).await;
        assert_eq!(answer.text(), "200 path /base/x; route /base/...; base /base; passed outer,inner", "{url}");
    }
    for (url, answer) in [
        ("http://self.alt/base/fixed/x", "203 nothing here"),
        ("http://self.alt/elsewhere", "404 no route has this path"),
    ] {
        assert_eq!(client.get(&format!("/base/ask?{url}")).await.text(), answer);
    }
    let refused = client.get("/base/barred?http://self.alt/base/x").await.text();
    assert!(refused.contains("HttpRequestDenied"), "{refused}");
}

#[tokio::test]
async fn a_component_that_is_not_a_middleware_cannot_forward_a_request() {
    let host = app().start().await;
    let answer = host.client().get("/base/next").await;
    assert_eq!(answer.status, 500);
    host.wait_for_log("is not a middleware of this request").await;
}

#[tokio::test]
async fn the_host_answers_what_the_manifest_answers() {
    let host = app().start().await;
    let client = host.client();
    for method in [Method::GET, Method::POST, Method::HEAD] {
        let answer = client.send(method.clone(), "/base/fixed/any", &[], None).await;
        assert_eq!((answer.status, answer.header("x-fixed")), (203, Some("yes")), "{method}");
        assert_eq!(answer.text(), if method == Method::HEAD { "" } else { "nothing here" });
        assert_eq!(answer.header("content-length"), Some("12"));
    }
    // The manifest answers with a redirect, which the client has followed.
    assert_eq!(client.get("/base/moved").await.header("x-fixed"), Some("yes"));
}

#[tokio::test]
async fn a_middleware_that_cannot_forward_is_refused_at_the_start() {
    let wrong =
        app().append("[component.hello]\nsource = \"../../../target/wasm32-wasip2/debug/example_hello.wasm\"\n");
    let said = wrong.replace("{ component = \"outer\" }", "{ component = \"hello\" }").start_fails().await;
    assert!(said.contains("component `hello`") && said.contains("wasi:http/handler@0.3"), "{said}");
}
