//! The administration API: who may do what on its listener and on the control socket, and that the public listener does
//! not serve it.

use crate::harness::admin::{Api, tokens};
use crate::harness::app::texts;
use crate::harness::{App, eventually, raw};
use http::Method;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const ANSWER: &str = r#"{"component":"rogue","function":"souk-test:rogue/deeds#answer","arguments":{"n":41}}"#;

#[tokio::test]
async fn each_token_does_what_it_is_for_and_nobody_else_does_anything() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (read, full) = tokens(&app, &[]).await;
    assert_eq!(tokens(&app, &[]).await, (read.clone(), full.clone()), "made once");
    let nobody = Api::of(&host);
    let (read, full, wrong) = (nobody.with(&read), nobody.with(&full), nobody.with("swordfish"));
    for path in ["/livez", "/readyz"] {
        for api in [&nobody, &wrong, &read] {
            let answer = api.get(path).await;
            assert!([200, 503].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    for path in
        ["/v1/application", "/v1/map", "/v1/components", "/v1/functions", "/v1/messages", "/v1/readiness", "/v1/limits"]
    {
        for api in [&nobody, &wrong] {
            let refused = api.get(path).await;
            refused.expect(401);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{path}");
        }
        read.get(path).await.expect(200);
        full.get(path).await.expect(200);
    }
    let (post, delete) = (Method::POST, Method::DELETE);
    let changes = [
        (&post, "/v1/call", ANSWER, 200),
        (&post, "/v1/messages/0198/retry", "", 404),
        (&delete, "/v1/messages/0198", "", 404),
        (&post, "/v1/dead-letters/retry", "", 200),
        (&delete, "/v1/dead-letters", "", 200),
    ];
    for (method, path, body, status) in changes {
        nobody.send(method.clone(), path, &[], body).await.expect(401);
        read.send(method.clone(), path, &[], body).await.expect(403);
        full.send(method.clone(), path, &[], body).await.expect(status);
    }
    read.get("/v1/log").await.expect(403);
    for path in ["/v1/codes", "/v1/tokens/renew"] {
        full.send(Method::POST, path, &[], "").await.expect(403);
    }
    full.get("/v1/call").await.expect(405);
    full.get("/v1/nothing").await.expect(404);
    // The log says who called what, and has no token.
    let line = host.wait_for_log("asks to call souk-test:rogue/deeds#answer of rogue").await;
    assert!(line.contains("token `full` from 127.0.0.1:") && !line.contains("\"n\""), "{line}");
    let (read, full) = tokens(&app, &[]).await;
    assert_eq!(host.log_count(&read) + host.log_count(&full), 0);
    let log = nobody.with(&full).get("/v1/log?lines=1000").await.expect(200);
    assert!(log["lines"].as_array().unwrap().iter().any(|logged| logged == &line), "{log}");
    let next = nobody.with(&full).get(&format!("/v1/log?after={}", log["next"])).await.expect(200);
    assert!(next["lines"].as_array().unwrap().len() < 10, "{next}");
}

#[tokio::test]
async fn renewed_admin_tokens_revoke_the_old_ones_at_once() {
    let app = App::alone("rogue").administered();
    let before = tokens(&app, &[]).await;
    let host = app.start().await;
    let api = Api::of(&host);
    api.with(&before.1).get("/v1/components").await.expect(200);
    let after = tokens(&app, &["--renew"]).await;
    assert!(before.0 != after.0 && before.1 != after.1);
    for (token, status) in [(&before.0, 401), (&before.1, 401), (&after.0, 200), (&after.1, 200)] {
        api.with(token).get("/v1/components").await.expect(status);
    }
    for name in ["token-read", "token-full"] {
        let mode = std::fs::metadata(app.state().join("admin").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Without a running host, in the state folder.
    drop(host);
    let last = tokens(&app, &["--renew"]).await;
    assert!(last.1 != after.1);
    assert_eq!(tokens(&app, &[]).await, last);
}

#[tokio::test]
async fn a_page_of_another_origin_gets_nothing_from_the_administration_api() {
    let app = App::alone("rogue").administered().file("runtime-config.toml", "admin_hosts = [\"admin.example\"]\n");
    let host = app.start().await;
    let (_, full) = tokens(&app, &[]).await;
    let api = Api::of(&host);
    let own = api.url().to_owned();
    let address = own.strip_prefix("http://").unwrap().to_owned();
    let full = api.with(&full);
    for (headers, status) in [
        (vec![("host", address.as_str())], 200),
        (vec![("host", "admin.example")], 200),
        (vec![("host", "evil.example")], 403),
        (vec![("host", host.address())], 403),
        (vec![("origin", own.as_str())], 200),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
    ] {
        for path in ["/livez", "/v1/components"] {
            let answer = full.send(Method::GET, path, &headers, "").await;
            assert_eq!(answer.status, status, "{path} with {headers:?}: {answer:?}");
        }
    }
    let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    full.send(Method::OPTIONS, "/v1/call", &preflight, "").await.expect(403);
}

#[tokio::test]
async fn a_login_code_is_exchanged_once_for_a_cookie_that_only_the_console_can_use() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let api = Api::of(&host);
    let (address, err) = texts(&app.souk("admin", &["code"]).await);
    let code =
        address.trim().strip_prefix(&format!("{}/#code=", api.url())).unwrap_or_else(|| panic!("{address}{err}"));
    let exchange = json!({ "code": code }).to_string();
    let origin = ("origin", api.url());
    let post =
        async |headers: &[(&str, &str)], path: &str, body: &str| api.send(Method::POST, path, headers, body).await;
    post(&[origin], "/v1/session", r#"{"code":"another"}"#).await.expect(401);
    // The browser is signed in at another host of this address, and stays so.
    let elsewhere = format!("souk_admin={}", "ab".repeat(32));
    let answer = post(&[origin, ("cookie", elsewhere.as_str())], "/v1/session", &exchange).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with(&format!("{elsewhere}.")), "{set}");
    for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(set.contains(part), "{part} is missing: {set}");
    }
    post(&[origin], "/v1/session", &exchange).await.expect(401);
    let cookie = ("cookie", set.split(';').next().unwrap());
    api.send(Method::GET, "/v1/components", &[cookie], "").await.expect(200);
    let answered = post(&[cookie, origin], "/v1/call", ANSWER).await.expect(200);
    assert_eq!(answered, json!({ "ok": 41 }));
    // A form or a script of another site has another origin.
    post(&[cookie], "/v1/call", ANSWER).await.expect(403);
    for site in ["cross-site", "same-site"] {
        let foreign = [cookie, ("sec-fetch-site", site)];
        api.send(Method::GET, "/v1/components", &foreign, "").await.expect(403);
    }
    host.wait_for_log("session 1 from 127.0.0.1:").await;
    // The browser also sends the cookie to the application, which has another port on the same address.
    let seen =
        host.client().send(Method::GET, "/rogue/self/headers", &[cookie, ("x-own", "1")], None).await.expect(200);
    assert!(seen.to_string().contains("x-own") && !seen.to_string().contains("souk_admin"), "{seen}");
    // Another cookie of the address, which need not be ASCII, is in the same header.
    let beside = format!("other=\u{e9}; {}", cookie.1);
    let headers = [("cookie", beside.as_str()), ("x-own", "1")];
    let seen = host.client().send(Method::GET, "/rogue/self/headers", &headers, None).await.expect(200);
    assert!(seen.to_string().contains("x-own") && !seen.to_string().contains("souk_admin"), "{seen}");
    api.send(Method::GET, "/v1/components", &[("cookie", beside.as_str())], "").await.expect(200);
    let out = api.send(Method::DELETE, "/v1/session", &[cookie, origin], "").await;
    assert_eq!(out.status, 204, "{out:?}");
    assert!(out.header("set-cookie").unwrap().starts_with(&format!("{elsewhere};")), "{out:?}");
    api.send(Method::GET, "/v1/components", &[cookie], "").await.expect(401);
    for done in ["has made a code for a sign-in", "has exchanged a code for a session", "has signed out"] {
        host.wait_for_log(done).await;
    }
}

#[tokio::test]
async fn the_public_listener_does_not_serve_the_administration_api() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (_, full) = tokens(&app, &[]).await;
    let bearer = format!("Bearer {full}");
    for path in ["/livez", "/readyz", "/metrics", "/v1/components", "/v1/log", "/"] {
        let answer = host.client().send(Method::GET, path, &[("authorization", &bearer)], None).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    host.client().send(Method::POST, "/v1/call", &[("authorization", &bearer)], Some(ANSWER.into())).await.expect(404);
}

#[tokio::test]
async fn on_the_control_socket_everything_is_there_without_a_token() {
    let app = App::alone("rogue");
    let host = app.start().await;
    let api = Api::on_socket(&app);
    assert_eq!(api.send(Method::POST, "/v1/call", &[], ANSWER).await.expect(200), json!({ "ok": 41 }));
    let failed = r#"{"component":"rogue","function":"souk-test:rogue/deeds#boom","arguments":{}}"#;
    let failed = api.send(Method::POST, "/v1/call", &[], failed).await.expect(500);
    assert!(failed["message"].as_str().unwrap().contains("component `rogue`: trapped"), "{failed}");
    for (body, status, message) in [
        (ANSWER.replace("rogue\",\"f", "nobody\",\"f"), 404, "there is no component `nobody`"),
        (ANSWER.replace("#answer", "#nothing"), 404, "has no function"),
        (ANSWER.replace("41", "\"swordfish\""), 400, "the arguments of"),
        ("{".to_owned(), 400, "not JSON"),
        ("{}".to_owned(), 400, "lacks a member"),
    ] {
        let problem = api.send(Method::POST, "/v1/call", &[], &body).await.expect(status);
        assert!(problem["message"].as_str().unwrap().contains(message), "{body}: {problem}");
    }
    let components = api.get("/v1/components").await.expect(200);
    let rogue = components.as_array().unwrap().iter().find(|c| c["name"] == "rogue").unwrap();
    assert_eq!((&rogue["place"], &rogue["instances"]["limit"]), (&json!("here"), &json!(8)), "{rogue}");
    let front = components.as_array().unwrap().iter().find(|c| c["name"] == "front").unwrap();
    assert_eq!(front["routes"], json!(["/rogue/..."]));
    assert_eq!(front["links"][0]["component"], "rogue");
    let limits = api.get("/v1/limits").await.expect(200);
    let of_rogue = limits["components"].as_array().unwrap().iter().find(|c| c["component"] == "rogue").unwrap();
    let memory = of_rogue["limits"].as_array().unwrap().iter().find(|l| l["key"] == "memory").unwrap();
    assert_eq!(memory["value"], "32 MiB");
    assert!(limits["fixed"].as_array().unwrap().len() > 100);
    let memory = limits["budgets"].as_array().unwrap().iter().find(|b| b["name"] == "application_memory").unwrap();
    assert!(memory["taken"].as_u64() < memory["most"].as_u64(), "{memory}");
    let line = host.wait_for_log("asks to call souk-test:rogue/deeds#boom of rogue").await;
    assert!(line.contains("control socket, user "), "{line}");
}

#[tokio::test]
async fn an_admin_listener_on_the_network_needs_tls_or_an_explicit_option() {
    let app = App::alone("rogue");
    let refused = app.souk("up", &["--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"]).await;
    let (_, err) = texts(&refused);
    assert!(!refused.status.success() && err.contains("without TLS") && err.contains("--admin-insecure"), "{err}");
    let app = app.argument("--admin").argument("0.0.0.0:0").argument("--admin-insecure");
    let host = app.start().await;
    let announced = host.wait_for_log("Administration: http://0.0.0.0:").await;
    assert!(announced.len() > 20);
}

#[tokio::test]
async fn the_read_token_shows_messages_without_their_arguments_and_what_components_said() {
    let app = App::alone("durable").administered();
    let host = app.start().await;
    let (read, full) = tokens(&app, &[]).await;
    let api = Api::of(&host);
    let (read, full) = (api.with(&read), api.with(&full));
    assert_eq!(host.client().get("/send/reject/one/1").await.status, 200);
    let dead = eventually("the message is a dead letter", || async {
        let found = read.get("/v1/messages?dead=true").await.expect(200);
        found["events"].get(0).cloned()
    })
    .await;
    let one = format!("/v1/messages/{}", dead["id"].as_str().unwrap());
    assert_eq!(read.get(&one).await.expect(200).get("arguments"), None);
    // The reason is the component's own text.
    assert!(dead["reason"].is_null() && read.get(&one).await.expect(200)["reason"].is_null(), "{dead}");
    // A list is as long as it is asked for, and says how many there are.
    for (query, listed) in [("", 1), ("?limit=1", 1), ("?dead=true&limit=1", 1), ("?limit=0", 0), ("?limit=20000", 1)] {
        let found = read.get(&format!("/v1/messages{query}")).await.expect(200);
        assert_eq!(found["events"].as_array().unwrap().len(), listed, "{query}: {found}");
        assert_eq!(found["total"], 1, "{query}: {found}");
    }
    read.get("/v1/messages?limit=all").await.expect(400);
    read.get("/v1/messages?most=1").await.expect(400);
    let whole = full.get(&one).await.expect(200);
    assert!(whole["arguments"].to_string().contains("one"), "{whole}");
    assert!(whole["reason"].is_string(), "{whole}");
    let listed = full.get("/v1/messages?dead=true").await.expect(200);
    assert_eq!(listed["events"][0]["reason"], whole["reason"], "{listed}");
    full.send(Method::DELETE, &one, &[], "").await.expect(200);
    let none: Value = full.get("/v1/messages").await.expect(200);
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn the_read_token_loads_no_component() {
    let spare = "[component.spare]\nsource = \"../../../target/wasm32-wasip2/debug/rogue.wasm\"\n";
    let app = App::alone("rogue").append(spare).administered();
    let host = app.start().await;
    let (read, full) = tokens(&app, &[]).await;
    let api = Api::of(&host);
    let (read, full) = (api.with(&read), api.with(&full));
    let functions = async |api: &Api| {
        let all = api.get("/v1/functions").await.expect(200);
        all.as_array().unwrap().iter().filter(|one| one["component"] == "spare").cloned().collect::<Vec<_>>()
    };
    let before = functions(&read).await;
    assert!(before.len() == 1 && before[0]["signature"].as_str().unwrap().contains("not loaded"), "{before:?}");
    assert!(functions(&full).await.len() > 1);
    assert!(functions(&read).await.len() > 1, "it is loaded now");
}

/// A program that replaces itself with the program in its arguments, with a terminal as standard output. A child copies
/// the terminal's output.
const ON_A_TERMINAL: &str = r#"
import os, sys
here, there = os.openpty()
if os.fork() == 0:
    os.close(there)
    try:
        while text := os.read(here, 4096):
            os.write(1, text.replace(b"\r", b""))
    except OSError:
        pass
else:
    os.close(here)
    os.dup2(there, 1)
    os.close(there)
    os.execv(sys.argv[1], sys.argv[1:])
"#;

#[tokio::test]
async fn only_a_host_on_a_terminal_prints_the_consoles_address() {
    let app = App::alone("rogue");
    let script = app.start().await;
    assert_eq!(script.log_count("Administration: ") + script.log_count("Console: "), 0, "{:?}", script.log());
    script.stop().await;
    let app = app.inside(["python3", "-c", ON_A_TERMINAL].map(str::to_owned).to_vec());
    let host = app.start().await;
    let line = host.wait_for_log("Console: ").await;
    let (url, code) = line.split_whitespace().nth(1).unwrap().split_once("/#code=").unwrap();
    let api = Api::of(&host);
    assert!(url == api.url() && url.starts_with("http://127.0.0.1:"), "{line}");
    let code = json!({ "code": code }).to_string();
    let cookie = api.send(Method::POST, "/v1/session", &[], &code).await;
    assert_eq!(cookie.status, 204, "{cookie:?}");
    assert_eq!(api.send(Method::POST, "/v1/session", &[], &code).await.status, 401, "the code works once");
    host.stop().await;
}

#[tokio::test]
async fn a_refused_request_with_a_large_body_gets_its_answer_and_its_connection_serves_the_next() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let api = Api::of(&host);
    let address = api.url().strip_prefix("http://").unwrap();
    let mut wire = raw::Wire::connect(address).await;
    for (line, status) in [("POST /v1/components/calm/deploy", 401), ("POST /nothing", 404), ("POST /livez", 405)] {
        for length in [10, 100_000, 5_000_000] {
            let head = format!("{line} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n");
            wire.send(&(head + &"x".repeat(length))).await;
            let answer = wire.response(false).await.expect("a response");
            assert_eq!((answer.status, answer.header("connection")), (status, None), "{line} {length}: {answer:?}");
        }
        // A body that does not come.
        let mut wire = raw::Wire::connect(address).await;
        wire.send(&format!("{line} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\n\r\nx")).await;
        let answer = wire.response(false).await.expect("a response");
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{line}: {answer:?}");
        assert!(wire.response(false).await.is_none(), "{line}: the connection is open");
    }
}

#[tokio::test]
async fn a_manual_request_with_too_many_headers_is_refused_and_its_connection_serves_the_next() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let (_, full) = tokens(&app, &[]).await;
    let api = Api::of(&host);
    let address = api.url().strip_prefix("http://").unwrap();
    let mut wire = raw::Wire::connect(address).await;
    for (count, status) in [(24_577, 400), (20, 200)] {
        let headers: serde_json::Map<String, Value> = (0..count).map(|n| (format!("x-{n}"), json!(""))).collect();
        let request = json!({ "method": "GET", "path": "/rogue/self/headers", "headers": headers }).to_string();
        let head = format!(
            "POST /v1/request HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {full}\r\ncontent-length: {}\r\n\r\n",
            request.len()
        );
        wire.send(&(head + &request)).await;
        let answer = wire.response(false).await.expect("a response");
        assert_eq!(answer.status, status, "{count}: {answer:?}");
        assert_eq!(answer.text().contains("fix: send fewer"), status == 400, "{count}: {answer:?}");
    }
}

#[tokio::test]
async fn connections_that_stand_still_do_not_keep_newcomers_from_the_administration() {
    let app = App::alone("rogue").administered();
    let host = app.start().await;
    let api = Api::of(&host);
    let address = api.url().strip_prefix("http://").unwrap().to_owned();
    let sign_in = format!(
        "POST /v1/session HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\nauthorization: Bearer x\r\n\r\nx"
    );
    for sent in ["", "GET /livez HT", &sign_in] {
        let mut held = Vec::new();
        for number in 0..160_u8 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 2 + number % 4], 0).into()).unwrap();
            let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
            raw::send(&mut stream, sent).await;
            held.push(stream);
        }
        for _ in 0..3 {
            let answered = tokio::time::timeout(Duration::from_secs(10), api.fresh().get("/livez")).await;
            let answer = answered.unwrap_or_else(|_| panic!("{sent:?} keeps others away"));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    // As the public listener: one peer makes room with its own connections.
    let mut peer = Vec::new();
    for _ in 0..40 {
        peer.push(raw::Wire::connect(&address).await);
    }
    assert!(peer.remove(0).response(false).await.is_none(), "its first connection is still open");
}
