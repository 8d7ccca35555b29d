//! Signals: a host that is told to end finishes what it has begun.

use super::edge::start;
use crate::harness::{eventually, raw};
use futures::future::join_all;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn sigterm_under_load_cuts_no_response_and_ends_with_0() {
    let (host, client) = start().await;
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/self/hold/1500").await })
        })
        .collect();
    let streams = join_all((0..10).map(|_| client.open(Method::GET, "/self/stream/150").send())).await;
    let streams: Vec<_> = streams.into_iter().map(|s| s.expect("a response")).collect();
    eventually("all are under way", || async { (host.log_count("holding on") >= 10).then_some(()) }).await;

    host.terminate();
    let address = host.address().to_owned();
    eventually("new connections are refused", || async {
        tokio::net::TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    for call in waiting {
        assert_eq!(call.await.unwrap().expect(200), 1_500);
    }
    for stream in streams {
        let text = stream.text().await.expect("a whole stream");
        assert_eq!(text.lines().count(), 150, "a stream was cut: {text:?}");
    }
    let status = host.wait().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn sigterm_loses_no_request_of_clients_that_never_pause() {
    let (host, _client) = start().await;
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..24)
        .map(|_| {
            let (address, served) = (host.address().to_owned(), Arc::clone(&served));
            tokio::spawn(async move {
                let mut stream = raw::connect(&address).await;
                // The client learns of the end only from a response.
                loop {
                    raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
                    let answer = raw::read_response(&mut stream).await;
                    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"hello\""), "{answer:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                    if answer.contains("connection: close") {
                        return raw::read_to_end(&mut stream).await;
                    }
                }
            })
        })
        .collect();
    eventually("all are at work", || async { (served.load(Ordering::Relaxed) >= 500).then_some(()) }).await;
    host.terminate();
    for client in clients {
        assert_eq!(client.await.expect("no request is lost"), "");
    }
    assert_eq!(host.wait().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_ends_a_host_with_idle_connections() {
    let (host, client) = start().await;
    client.get("/self/hello").await.expect(200);
    let mut idle = raw::connect(host.address()).await;
    host.terminate();
    assert_eq!(raw::read_to_end(&mut idle).await, "");
    assert_eq!(host.wait().await.code(), Some(0));
}

#[tokio::test]
async fn sigquit_drains_and_signals_that_mean_nothing_to_it_do_not_end_a_host() {
    let (host, client) = start().await;
    for name in ["USR1", "USR2"] {
        host.signal(name);
        host.wait_for_log(&format!("SIG{name} is ignored")).await;
    }
    host.signal("XFSZ");
    host.wait_for_log("a file has reached the largest size").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/self/hold/500").await }
    });
    host.wait_for_log("holding on").await;
    host.signal("QUIT");
    assert_eq!(waiting.await.unwrap().expect(200), 500);
    assert_eq!(host.wait().await.code(), Some(0));
}
