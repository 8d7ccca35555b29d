//! A component can export both `wasi:http/handler` and `souk:http/handler`, which uses plain values. The client gets
//! the same response from both.

use crate::harness::{App, raw};
use std::collections::BTreeMap;

/// The variable that makes a host use only `wasi:http`.
const WASI_HTTP_ONLY: &str = "SOUK_WASI_HTTP_ONLY";

/// Requests of all kinds: requests that fit into plain values, and requests that do not (HEAD, trailers, `expect`, a
/// body that is larger than what the host buffers).
fn requests() -> Vec<String> {
    let json = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let plain = |method: &str, path: &str, more: &str| format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(300 * 1024));
    vec![
        plain("GET", "/api/products/7", ""),
        plain("GET", "/api/products/7", "if-none-match: *\r\n"),
        plain("GET", "/api/products?page=2&limit=3", ""),
        plain("GET", "/api/products/%C3%A9?a=%ff", ""),
        plain("GET", "/api/openapi.json", ""),
        plain("GET", "/api/docs", ""),
        plain("HEAD", "/api/products/7", ""),
        plain("HEAD", "/api/openapi.json", ""),
        plain("OPTIONS", "/api/products", ""),
        plain("QUERY", "/api/products", ""),
        plain("GET", "/api/products/7", "if-none-match: \"a\"\r\nif-none-match: *\r\n"),
        plain("GET", "/nothing", "cookie: a\r\ncookie: b\r\n"),
        plain("GET", "/payments/success", ""),
        plain("HEAD", "/payments/cancel", ""),
        plain("POST", "/payments/webhook", "stripe-signature: t=1,v1=00\r\ncontent-length: 0\r\n"),
        json("POST", "/payments/webhook", "{}"),
        json("POST", "/api/auth/login", r#"{"email":"nobody@example.com","password":"x"}"#),
        json("POST", "/api/auth/login", "{"),
        json("POST", "/api/products", &large),
        json("POST", "/payments/webhook", &large),
        "POST /api/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\
         trailer: x-a\r\n\r\n2\r\n{}\r\n0\r\nx-a: 1\r\n\r\n"
            .to_owned(),
        "POST /api/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: 2\r\n\r\n{}"
            .to_owned(),
    ]
}

/// Status, headers without those that differ for every request, and body. The connection of a request whose large body
/// nobody reads is closed or kept, depending on how much of it has arrived when the answer is there.
type Seen = (u16, BTreeMap<String, String>, String);

async fn ask(app: App) -> Vec<Seen> {
    let host = app.start().await;
    let mut seen = Vec::new();
    for request in requests() {
        let mut wire = raw::Wire::connect(host.address()).await;
        wire.send(&request).await;
        if request.contains("expect: ") {
            let interim = wire.response(true).await.expect("an answer");
            assert_eq!(interim.status, 100);
        }
        let response = wire.response(request.starts_with("HEAD")).await.expect("a response");
        response.check().unwrap();
        let headers = response
            .headers
            .iter()
            .filter(|(name, _)| !["connection", "date", "x-request-id"].contains(&name.as_str()));
        seen.push((response.status, headers.cloned().collect(), response.text()));
    }
    seen
}

#[tokio::test]
async fn a_component_answers_alike_by_wasi_http_and_by_plain_values() {
    let plain = ask(App::store()).await;
    let wasi = ask(App::store().environment(WASI_HTTP_ONLY, "1")).await;
    for (request, (plain, wasi)) in requests().iter().zip(plain.iter().zip(&wasi)) {
        let line = request.lines().next().unwrap();
        assert_eq!(plain, wasi, "{line}");
    }
    let statuses: Vec<u16> = plain.iter().map(|(status, ..)| *status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&304) && statuses.contains(&413), "{statuses:?}");
}
