//! Components of WASI 0.2, built with Spin's SDK 5, run unchanged, with the same limits, grants and errors as
//! components of WASI 0.3.

use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, eventually};
use futures::future::join_all;
use http::Method;

fn app() -> App {
    App::alone("wasi-0-2")
}

#[tokio::test]
async fn a_component_of_wasi_0_2_answers_with_head_body_and_length() {
    let host = app().start().await;
    let client = host.client();
    for length in [0, 1, 65_536, 900_000] {
        let body = vec![b'x'; length];
        let answer = client.send(Method::POST, "/echo", &[], Some(body.clone())).await;
        assert_eq!((answer.status, answer.header("x-echo")), (201, Some("yes")));
        assert_eq!(answer.body.len(), length);
        assert!(answer.body == body);
    }
}

#[tokio::test]
async fn its_streamed_body_arrives_whole() {
    let host = app().start().await;
    let answer = host.client().get("/stream?20").await;
    assert_eq!(answer.status, 200);
    let expected: Vec<u8> = (0..20_u8).flat_map(|n| vec![b'a' + n; 64 << 10]).collect();
    assert!(answer.body == expected, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn its_grants_are_those_of_the_manifest() {
    let host = app().start().await;
    let client = host.client();
    assert_eq!(client.get("/key-value").await.text(), r#"["one"] false 1 true"#);
    assert_eq!(client.get("/sqlite").await.text(), r#"Some((Some(1), Some("one")))"#);
    assert_eq!(client.get("/variable?greeting").await.text(), "hello");
    assert!(client.get("/variable?other").await.text().contains("has no variable `other`"));
}

#[tokio::test]
async fn it_calls_a_newer_component_of_the_application_and_no_other_host() {
    let host = app().start().await;
    let client = host.client();
    assert_eq!(client.get("/fetch?http://newer.spin.internal/there").await.text(), "Hello from /there\n");
    let refused = client.open(Method::GET, "/fetch?http://127.0.0.1:1/").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 502);
    assert!(refused.text().await.unwrap().contains("HttpRequestDenied"));
}

#[tokio::test]
async fn requests_to_it_and_from_it_go_to_another_host() {
    let (app, nats) = (app(), Nats::start());
    let start = async |state: &str, component: &str| {
        app.start_at("127.0.0.1:0", state, &["--nats", &nats.url(), "--only", component]).await
    };
    let it = start("state-1", "spin-5").await;
    let other = start("state-2", "newer").await;
    let client = other.client();
    for length in [0, 1, 65_536, 900_000] {
        let body: Vec<u8> = (0..=255).cycle().take(length).collect();
        let answer = client.send(Method::POST, "/echo", &[], Some(body.clone())).await;
        assert_eq!((answer.status, answer.header("x-echo")), (201, Some("yes")));
        assert!(answer.body == body, "{length}");
    }
    assert_eq!(client.get("/variable?greeting").await.text(), "hello");
    for host in [&it, &other] {
        let answer = host.client().get("/fetch?http://newer.spin.internal/there").await;
        assert_eq!(answer.text(), "Hello from /there\n");
    }
    for (path, status) in [("/boom", 500), ("/silent", 500), ("/forever", 504)] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    assert_eq!(client.get("/variable?greeting").await.text(), "hello");
}

#[tokio::test]
async fn a_trap_a_missing_answer_and_a_loop_end_their_own_request_alone() {
    let host = app().start().await;
    let client = host.client();
    let broken = join_all(["/boom", "/silent", "/forever"].map(|path| client.get(path)));
    let good = join_all((0..50).map(|_| client.get("/variable?greeting")));
    let (broken, good) = futures::join!(broken, good);
    assert!(good.iter().all(|answer| answer.text() == "hello"));
    for (answer, status) in broken.iter().zip([500, 500, 504]) {
        assert_eq!(answer.status, status);
        assert!(!answer.text().contains("swordfish"));
    }
}

#[tokio::test]
async fn the_last_output_is_logged_after_its_instance_has_ended() {
    let host = app().start().await;
    assert_eq!(host.client().get("/last-words").await.status, 200);
    host.wait_for_log("guest: said without an end of line").await;
}

#[tokio::test]
async fn every_request_gets_a_fresh_instance_and_the_memory_stays_bounded() {
    let host = app().start().await;
    let client = host.client();
    client.get("/variable?greeting").await;
    let before = host.rss_bytes();
    for _ in 0..20 {
        join_all((0..25).map(|_| client.get("/variable?greeting"))).await;
    }
    let settled = || async { (host.rss_bytes() < before + (64 << 20)).then_some(()) };
    eventually("the instances are gone", settled).await;
}

#[tokio::test]
async fn the_list_of_functions_has_no_handler_and_says_which_component_speaks_which_wasi() {
    let output = app().souk("call", &["--list"]).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    assert!(!out.contains("handler"), "{out}");
    for component in ["spin-5 (WASI 0.2)", "newer (WASI 0.3)"] {
        assert!(out.contains(&format!("{component}\n  answers HTTP requests")), "{out}");
    }
}
