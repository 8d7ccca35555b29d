//! The client's address behind a proxy: only a trusted proxy can set it.

use crate::harness::{App, Host, raw};
use serde_json::Value;

async fn start(trusted: &str) -> Host {
    let souk = format!("[application.tool.souk]\ntrusted_proxies = [{trusted}]\n\n[application.tool.souk.limits]");
    App::new("edge").replace("[application.tool.souk.limits]", &souk).start().await
}

/// The client's address in `spin-client-addr`, for a connection that begins with `first` and a request with these
/// headers.
async fn client_of(host: &Host, first: &[u8], headers: &str) -> Result<String, String> {
    let mut stream = raw::connect(host.address()).await;
    let request = format!("GET /show/exact HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &[first, request.as_bytes()].concat()).await.unwrap();
    let answer = raw::read_to_end(&mut stream).await;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => {
            let seen: Value = serde_json::from_str(body).unwrap();
            Ok(seen["spin-client-addr"].as_str().unwrap().to_owned())
        }
        _ => Err(answer),
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_the_log_has_it() {
    let host = start("\"127.0.0.0/8\"").await;
    let named = async |headers: &str| client_of(&host, b"", headers).await.unwrap();
    assert_eq!(named("forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n").await, "[2001:db8::1]:4711");
    assert_eq!(named("x-forwarded-for: 203.0.113.1, 192.0.2.7, 127.0.0.9\r\n").await, "192.0.2.7:0");
    host.wait_for_log("peer=192.0.2.7").await;
    assert!(named("").await.starts_with("127.0.0.1:"));
    let both = "forwarded: for=203.0.113.1\r\nx-forwarded-for: 192.0.2.7\r\n";
    assert!(named(both).await.starts_with("127.0.0.1:"), "one of the two is forged");
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_by_proxy_protocol() {
    let host = start("\"127.0.0.1\"").await;
    let named = async |first: &[u8]| client_of(&host, first, "").await;
    assert_eq!(named(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n").await.unwrap(), "192.0.2.7:5000");
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    binary.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    binary.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    binary.extend([0x13, 0x88, 0, 80]);
    assert_eq!(named(&binary).await.unwrap(), "[2001:db8::1]:5000");
    assert!(named(b"PROXY UNKNOWN\r\n").await.unwrap().starts_with("127.0.0.1:"));
    // The client that the proxy names is not a trusted proxy itself.
    let forged = client_of(&host, b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", "x-forwarded-for: 1.2.3.4\r\n").await;
    assert_eq!(forged.unwrap(), "192.0.2.7:5000");
    assert_eq!(named(b"PROXY TCP4 nonsense\r\n").await.unwrap_err(), "");
    host.wait_for_log("a trusted proxy's connection was closed").await;
}

#[tokio::test]
async fn an_untrusted_peer_cannot_set_the_clients_address() {
    let host = start("\"192.0.2.0/24\"").await;
    for headers in ["forwarded: for=192.0.2.7\r\n", "x-forwarded-for: 192.0.2.7\r\n"] {
        assert!(client_of(&host, b"", headers).await.unwrap().starts_with("127.0.0.1:"));
    }
    let answer = client_of(&host, b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", "").await.unwrap_err();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
}
