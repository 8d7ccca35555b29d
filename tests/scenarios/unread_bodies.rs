//! Requests whose body nobody reads: their connection stays in step, or is closed and the answer says so.

use super::edge;
use crate::harness::{App, raw};

#[tokio::test]
async fn an_answer_of_the_host_to_a_request_with_a_body_leaves_the_connection_in_step() {
    let host = App::new("rogue").start().await;
    let health = "GET /.well-known/spin/health HTTP/1.1\r\nhost: a\r\n\r\n";
    for (line, status) in [
        ("POST /nothing", 404),
        ("POST /.well-known/spin/health", 405),
        ("PUT /.well-known/souk/ready", 405),
        ("DELETE /.well-known/spin/info", 405),
        ("CONNECT /nothing", 501),
        ("POST http://user@shop/other/answer/1", 400),
    ] {
        let ask =
            |length: usize, more: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{more}content-length: {length}\r\n\r\n");
        let mut wire = raw::Wire::connect(host.address()).await;
        for length in [1, 1_000, 100_000, 1_000_000] {
            wire.send(&(ask(length, "") + &"x".repeat(length))).await;
            let answer = wire.response(false).await.expect("a response");
            assert_eq!((answer.status, answer.header("connection")), (status, None), "{line} {length}: {answer:?}");
            wire.send(health).await;
            let next = wire.response(false).await.unwrap_or_else(|| panic!("{line} {length} has ended the connection"));
            assert_eq!((next.status, next.text().as_str()), (200, "OK"), "{line} {length}");
        }
        // A body that does not come: the client learns that it cannot use the connection again.
        for (more, sent) in [("", "x"), ("expect: 100-continue\r\n", "")] {
            let mut wire = raw::Wire::connect(host.address()).await;
            wire.send(&(ask(9, more) + sent)).await;
            let answer = wire.response(false).await.expect("a response");
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{line}: {answer:?}");
            assert!(wire.response(false).await.is_none(), "{line}: the connection is open");
        }
    }
}

#[tokio::test]
async fn a_refused_body_closes_the_connection_and_the_answer_says_so() {
    let (host, _client) = edge::start().await;
    for (more, body) in [
        ("content-length: 9000000\r\n", "x".repeat(1_000)),
        ("content-length: 9000000\r\nexpect: 100-continue\r\n", String::new()),
        ("transfer-encoding: chunked\r\n", format!("300000\r\n{}\r\n", "x".repeat(0x30_0000))),
    ] {
        let mut wire = raw::Wire::connect(host.address()).await;
        wire.send(&format!("POST /self/length HTTP/1.1\r\nhost: a\r\n{more}\r\n{body}")).await;
        let answer = wire.response(false).await.expect("a response");
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")), "{more}: {answer:?}");
        assert!(wire.response(false).await.is_none(), "{more}: the connection is open");
    }
}
