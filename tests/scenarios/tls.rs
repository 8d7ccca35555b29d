//! TLS on the public listener.

use crate::harness::{App, Host, raw};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use tokio_rustls::rustls;

/// The edge application behind TLS, and a client configuration that trusts its certificate.
async fn start_tls() -> (Host, tokio_rustls::TlsConnector) {
    start_tls_with(&[]).await
}

/// The same, with a client that offers these ALPN protocols.
pub(super) async fn start_tls_with(protocols: &[&str]) -> (Host, tokio_rustls::TlsConnector) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let app =
        App::new("edge").file("cert.pem", certified.cert.pem()).file("key.pem", certified.signing_key.serialize_pem());
    let (cert, key) = (app.path("cert.pem"), app.path("key.pem"));
    let app = app.argument("--tls-cert").argument(cert.to_str().unwrap());
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let app = app.argument("--tls-key").argument(key.to_str().unwrap());

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let host = app.start().await;
    assert!(host.tls(), "the host says https: {:?}", host.log());
    (host, tokio_rustls::TlsConnector::from(Arc::new(config)))
}

pub(super) async fn get_over_tls(host: &Host, connector: &tokio_rustls::TlsConnector) -> String {
    let stream = raw::connect(host.address()).await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    raw::read_to_end(&mut stream).await
}

#[tokio::test]
async fn tls_is_served_and_a_stalled_handshake_blocks_nobody() {
    let (host, connector) = start_tls().await;
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(raw::connect(host.address()).await);
    }
    for _ in 0..3 {
        let answer = get_over_tls(&host, &connector).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"hello\""), "{answer:?}");
    }
    drop(stalled);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused_and_hurts_nobody() {
    let (host, connector) = start_tls().await;
    let mut plain = raw::connect(host.address()).await;
    raw::send(&mut plain, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = raw::read_to_end(&mut plain).await;
    assert!(!answer.contains("200 OK"), "{answer:?}");
    assert!(get_over_tls(&host, &connector).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_private_key_that_other_users_can_read_is_a_warning_at_the_start_and_when_it_is_read_again() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let app = App::alone("edge")
        .file("cert.pem", certified.cert.pem())
        .file("key.pem", certified.signing_key.serialize_pem());
    let (cert, key) = (app.path("cert.pem"), app.path("key.pem"));
    let mode = |mode| std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    let app = app.argument("--tls-cert").argument(cert.to_str().unwrap());
    let app = app.argument("--tls-key").argument(key.to_str().unwrap());
    mode(0o600);
    let host = app.start().await;
    assert_eq!(host.log_count("other users"), 0, "{:?}", host.log());
    mode(0o640);
    host.signal("HUP");
    host.wait_for_log("key.pem: other users can read this file (mode 0640), and it holds secrets").await;
    drop(host);
    mode(0o644);
    let host = app.start().await;
    host.wait_for_log("key.pem: other users can read this file (mode 0644), and it holds secrets").await;
}
