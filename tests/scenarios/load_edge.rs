//! Attacks on the HTTP edge: clients that do not finish their bodies, do not read their responses, or hold connections
//! open. Half of the good clients have the attacker's address, so they get only a part of the same share; the others have
//! another address.

use crate::harness::http2::Http2;
use crate::harness::load::{self, Bounds, endure, raise_descriptors};
use crate::harness::store::Shop;
use crate::harness::{App, Client, raw, stripe};
use futures::future::join_all;
use http::Method;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long an attacker keeps a connection before it opens it again.
const PAUSE: Duration = Duration::from_secs(2);

/// An address of this machine that no attacker has.
const NEIGHBOUR: [u8; 4] = [127, 0, 0, 2];

/// Sends good requests, one after the other: to the API and to the webhook, over existing and new connections, from the
/// attacker's address and from another one. Returns from which.
async fn order_and_tell(shop: &Shop, neighbour: &Client, admin: &str, number: usize) -> &'static str {
    let (client, kind) = if number % 8 < 4 {
        (&shop.client, "from the attacker's address")
    } else {
        (neighbour, "from another address")
    };
    let client = if number % 4 < 2 { client.clone() } else { client.fresh() };
    if number.is_multiple_of(2) {
        let body = json!({ "name": format!("Cup {number}"), "price": 9.5 }).to_string().into_bytes();
        let bearer = format!("Bearer {admin}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        client.send(Method::POST, "/api/products", &headers, Some(body)).await.expect(201);
    } else {
        let event = stripe::event("customer.created", json!({ "id": format!("cus_{number}"), "object": "customer" }));
        let answer = stripe::deliver(&client, crate::harness::store::STRIPE_SECRET, &event).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    kind
}

async fn store() -> (Shop, Client, String) {
    raise_descriptors();
    let shop = Shop::of(App::store_alone()).await;
    let (neighbour, admin) = (shop.client.from(NEIGHBOUR), shop.admin().await);
    (shop, neighbour, admin)
}

/// Opens `connections`, each of which sends this many requests and abandons them, again and again.
async fn leave(
    address: String,
    window: u32,
    connections: usize,
    method: &'static str,
    path: &'static str,
    bodies: Vec<Option<&'static [u8]>>,
) {
    let (address, bodies) = (&address, &bodies);
    join_all((0..connections).map(|_| async move {
        loop {
            let standing = async {
                let mut connection = Http2::connect(address, window).await;
                if connection.send(method, path, &[("content-type", "application/json")], bodies).await {
                    connection.read_to_end().await;
                }
            };
            // A new connection follows, whether the host has closed this one or not.
            let _ = tokio::time::timeout(PAUSE, standing).await;
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_finished_keep_no_request_out() {
    let (shop, neighbour, admin) = store().await;
    for (name, path) in [("unfinished bodies", "/api/products"), ("unfinished events", "/payments/webhook")] {
        let attack = leave(shop.host.address().to_owned(), 65_535, 33, "POST", path, vec![Some(&b"{"[..]); 127]);
        let bounds = Bounds { mib: 160, descriptors: 200 };
        endure(name, &shop.app, &shop.host, bounds, |n| order_and_tell(&shop, &neighbour, &admin, n), attack).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_not_read_keep_no_request_out_and_fill_no_memory() {
    let (shop, neighbour, admin) = store().await;
    // Without a window hyper buffers a response, with a small window HTTP/2 does; a response of 76 KB holds its
    // instance.
    for (name, window, path) in [
        ("responses without a window", 0, "/api/docs"),
        ("responses with a window of a byte", 1, "/api/docs"),
        ("unread streams", 0, "/api/openapi.json"),
    ] {
        assert_eq!(shop.client.get(path).await.status, 200, "{path}");
        // A frame of one byte costs as much CPU time as one of 64 KiB. A short run has fewer of them, so that two cores
        // have time left for the good client.
        let connections = if load::is_long() { 400 } else { 120 };
        let attack = leave(shop.host.address().to_owned(), window, connections, "GET", path, vec![None; 128]);
        // 128 instances of the gateway, which is the share of one peer, and the state of its streams.
        let bounds = Bounds { mib: 448, descriptors: 900 };
        endure(name, &shop.app, &shop.host, bounds, |n| order_and_tell(&shop, &neighbour, &admin, n), attack).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_no_newcomer_out() {
    let (shop, neighbour, admin) = store().await;
    let address = shop.host.address().to_owned();
    let attack = async move {
        let address = &address;
        let open = |_| async move {
            let mut stream = raw::connect(address).await;
            // The host may have closed it already.
            let _ = stream.write_all(b"GET /.well-known/spin/health HTTP/1.1\r\nhost: a\r\n\r\n").await;
            stream
        };
        let mut idle = Vec::new();
        for _ in 0..65 {
            idle.extend(join_all((0..64).map(open)).await);
        }
        assert_eq!(idle.len(), 4_160);
        std::future::pending::<()>().await;
    };
    // A connection that the host closes to make room stays open for half a second, in case a request is on its way.
    let bounds = Bounds { mib: 320, descriptors: 4_096 };
    let newcomers = |n: usize| order_and_tell(&shop, &neighbour, &admin, n % 2 + 2 + n % 8 / 4 * 4);
    endure("idle connections", &shop.app, &shop.host, bounds, newcomers, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_that_stop_half_way_on_every_connection_keep_no_newcomer_out() {
    let (shop, neighbour, admin) = store().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(100_000));
    let body = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        .to_owned();
    for (name, text) in [("unfinished heads", head), ("unfinished requests", body)] {
        let address = shop.host.address().to_owned();
        let attack = async move {
            let (address, text) = (&address, &text);
            join_all((0..2_200).map(|_| async move {
                // The pause leaves space in the kernel's accept queue for the good client's connections.
                let mut pace = tokio::time::interval(2 * PAUSE);
                loop {
                    pace.tick().await;
                    let standing = async {
                        let mut stream = raw::connect(address).await;
                        if stream.write_all(text.as_bytes()).await.is_ok() {
                            raw::read_to_end(&mut stream).await;
                        }
                    };
                    let _ = tokio::time::timeout(2 * PAUSE, standing).await;
                }
            }))
            .await;
        };
        let bounds = Bounds { mib: 320, descriptors: 4_096 };
        let newcomers = |n: usize| order_and_tell(&shop, &neighbour, &admin, n % 2 + 2 + n % 8 / 4 * 4);
        endure(name, &shop.app, &shop.host, bounds, newcomers, attack).await;
    }
}
