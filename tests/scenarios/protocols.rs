//! Which HTTP version a connection speaks, and which `host` headers are valid.

use super::tls::{get_over_tls, start_tls_with};
use crate::harness::{App, raw};
use http::Method;

#[tokio::test]
async fn a_host_header_that_is_not_the_authority_is_refused_over_http_2() {
    let host = App::new("edge").start().await;
    let client = host.client().http2();
    let own = host.address();
    for other in ["elsewhere", "127.0.0.1", "127.0.0.1:1", "user@127.0.0.1", own.replace("127", "128").as_str()] {
        let body = client.send(Method::GET, "/self/hello", &[("host", other)], None).await.expect(400);
        assert!(body["message"].as_str().unwrap().contains("host"), "{other}: {body}");
    }
    assert_eq!(client.send(Method::GET, "/self/hello", &[("host", own)], None).await.expect(200), "hello");
    assert_eq!(client.get("/self/hello").await.expect(200), "hello");
}

#[tokio::test]
async fn a_connection_speaks_the_protocol_that_its_handshake_agreed_on() {
    let (host, connector) = start_tls_with(&["h2"]).await;
    let answer = get_over_tls(&host, &connector).await;
    assert!(!answer.contains("HTTP/1.1 ") && !answer.contains("hello"), "HTTP/1.1 was served as h2: {answer:?}");

    let (host, connector) = start_tls_with(&["http/1.1"]).await;
    assert!(get_over_tls(&host, &connector).await.starts_with("HTTP/1.1 200"));
    let stream = raw::connect(host.address()).await;
    let name = rustls_name("localhost");
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    raw::send(&mut stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let answer = raw::read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "HTTP/2 was served as http/1.1: {answer:?}");
}

fn rustls_name(name: &'static str) -> tokio_rustls::rustls::pki_types::ServerName<'static> {
    name.try_into().unwrap()
}

#[tokio::test]
async fn strict_transport_security_is_sent_over_tls_only() {
    let (host, connector) = start_tls_with(&[]).await;
    let answer = get_over_tls(&host, &connector).await;
    assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer:?}");
    let host = App::new("edge").start().await;
    assert_eq!(host.client().get("/self/hello").await.header("strict-transport-security"), None);
}
