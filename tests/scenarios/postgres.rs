//! PostgreSQL fails: in the middle of a commit, or for a while under load. Clients get a clear 503, and a repeated
//! request takes effect once.

use super::outages::expect_outage;
use crate::harness::database::{on_server, query_number};
use crate::harness::postgres::{Postgres, name_of};
use crate::harness::proxy::{Cut, Proxy};
use crate::harness::store::{STRIPE_SECRET, Shop, cents, send, try_order};
use crate::harness::{Answer, App, Client, WAIT_TIMEOUT, eventually, queue, stripe};
use futures::future::join_all;
use http::Method;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// A store with a proxy in front of the database of its orders.
async fn behind_proxy() -> (Proxy, Shop, String) {
    let server = Postgres::shared();
    let proxy = Proxy::start(server.port()).await;
    let app = on_server(App::store(), server);
    let orders = server.url_at(proxy.port(), name_of(app.value("orders_database_url").unwrap()));
    let shop = Shop::of(app.variable("orders_database_url", orders)).await;
    let token = shop.customer().await;
    (proxy, shop, token)
}

/// `count` cuts, of both kinds in turn.
fn cuts(count: usize) -> impl Iterator<Item = Cut> {
    [Cut::Before, Cut::After].into_iter().cycle().take(count)
}

/// Repeats a request until the answer has this status; every other answer goes to `refused`.
async fn until<F: Future<Output = Answer>>(status: u16, ask: impl Fn() -> F, refused: impl Fn(&Answer)) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status == status {
            return answer;
        }
        refused(&answer);
        assert!(start.elapsed() < WAIT_TIMEOUT, "the answer still does not have status {status}: {answer:?}");
    }
}

/// Asserts that no transaction was written in part.
async fn expect_whole(app: &App, orders: usize) {
    for (query, count) in [
        ("SELECT count(*) FROM orders", orders),
        ("SELECT count(*) FROM idempotency_keys", orders),
        ("SELECT count(DISTINCT order_id) FROM idempotency_keys", orders),
        ("SELECT count(DISTINCT order_id) FROM payment_sessions", orders),
        (
            "SELECT count(*) FROM orders WHERE total_cents <> (SELECT coalesce(sum(unit_cents * quantity), 0) \
             FROM order_items WHERE order_id = orders.id)",
            0,
        ),
    ] {
        assert_eq!(query_number(app, query).await, count as i64, "{query}");
    }
}

#[tokio::test]
async fn an_order_whose_commit_is_cut_off_is_made_once_by_its_key() {
    let (proxy, shop, token) = behind_proxy().await;
    proxy.cut(cuts(100));
    let (made, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = || async {
        while proxy.left() > 0 {
            let key = format!("key-{}", made.fetch_add(1, SeqCst));
            let order = || shop.order_with_key(&token, &key, &[(1, 2), (2, 1)]);
            let answer = until(201, order, |answer| {
                expect_outage(answer, &key);
                refused.fetch_add(1, SeqCst);
            })
            .await;
            assert_eq!(order().await.expect(201), answer.json(), "the same answer again");
        }
    };
    join_all((0..4).map(|_| client())).await;
    let (made, refused) = (made.into_inner(), refused.into_inner());
    println!("{made} orders, {refused} of them refused at first");
    assert_eq!(refused, 100, "each cut is one refusal, and each refusal one cut");
    expect_whole(&shop.app, made).await;
    let list = shop.get("/api/orders", &token).await.expect(200);
    assert_eq!(list["pagination"]["totalRecords"], made);
}

#[tokio::test]
async fn a_payment_whose_commit_is_cut_off_counts_once() {
    let (proxy, shop, token) = behind_proxy().await;
    let orders = join_all((0..10).map(|_| shop.small_order(&token))).await;
    let events: Vec<Value> = orders.iter().map(|(id, cents)| stripe::charge_succeeded(id, *cents)).collect();
    proxy.cut(cuts(15));
    let taken = |event: &Value| {
        let event = event.clone();
        let shop = &shop;
        async move { until(200, || shop.send_event(&event), |_| {}).await }
    };
    join_all(events.iter().map(taken)).await;
    shop.wait_for_events().await;
    // Commits that are cut before they arrive are repeated, so there were enough commits for all cuts.
    assert_eq!(proxy.left(), 0, "cuts were not made");
    for ((id, total), event) in orders.iter().zip(&events) {
        let order = shop.order_by_id(&token, id).await;
        assert_eq!((&order["status"], cents(&order["totalAmount"])), (&"PAID".into(), *total), "{order}");
        assert_eq!((&order["stripeChargeId"], order.get("refundDueAmount")), (&event["data"]["object"]["id"], None));
    }
    assert_eq!(query_number(&shop.app, "SELECT count(*) FROM events").await, 10);
}

/// The clients that run while PostgreSQL is killed and restarted.
struct Load {
    client: Client,
    token: String,
    made: AtomicUsize,
    refused: AtomicUsize,
    ended: AtomicBool,
}

impl Load {
    /// A customer who orders, pays and reads an order, again and again; returns the orders that were made.
    async fn customer(self: Arc<Self>) -> Vec<String> {
        let mut orders = Vec::new();
        while !self.ended.load(SeqCst) {
            let key = uuid::Uuid::now_v7().to_string();
            let order = || async { try_order(&self.client, &self.token, &key, &[(1, 2)]).await.unwrap() };
            let made = until(201, order, |answer| self.refused(answer, "an order")).await.json();
            let id = made["order"]["id"].as_str().unwrap().to_owned();
            let event = stripe::charge_succeeded(&id, 15050);
            let tell = || stripe::deliver(&self.client, STRIPE_SECRET, &event);
            until(200, tell, |answer| self.refused(answer, "an event")).await;
            let looked = send(&self.client, Method::GET, &format!("/api/orders/id/{id}"), &self.token, None).await;
            match looked.status {
                200 => assert_eq!(looked.json()["totalAmount"], 150.5),
                _ => self.refused(&looked, "a look at an order"),
            }
            orders.push(id);
            self.made.fetch_add(1, SeqCst);
        }
        orders
    }

    fn refused(&self, answer: &Answer, what: &str) {
        if answer.json().get("orderId").is_none() {
            expect_outage(answer, what);
        }
        assert_eq!(answer.status, 503, "{what}: {answer:?}");
        self.refused.fetch_add(1, SeqCst);
    }

    /// Waits until the counter has grown by `count`.
    async fn wait_for_more(&self, what: &str, counter: &AtomicUsize, count: usize) {
        let target = counter.load(SeqCst) + count;
        eventually(what, || async { (counter.load(SeqCst) >= target).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_that_is_killed_under_load_is_503_and_comes_back_without_a_restart() {
    let mut server = Postgres::start();
    let shop = Shop::of(on_server(App::store(), &server)).await;
    let token = shop.customer().await;
    let load = Arc::new(Load {
        client: shop.client.clone(),
        token: token.clone(),
        made: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
    });
    let customers: Vec<_> = (0..6).map(|_| tokio::spawn(Arc::clone(&load).customer())).collect();
    load.wait_for_more("orders are made", &load.made, 20).await;
    for _ in 0..2 {
        tokio::task::block_in_place(|| server.kill());
        load.wait_for_more("requests are refused", &load.refused, 100).await;
        // Requests that need no database still work.
        assert_eq!(shop.client.get("/.well-known/spin/health").await.status, 200);
        shop.client.get("/payments/success").await.expect(200);
        shop.verify(&token).await.expect(201);
        expect_outage(&shop.get("/api/products/1", "").await, "the catalogue");
        load.wait_for_more("more requests are refused", &load.refused, 100).await;
        tokio::task::block_in_place(|| server.resume());
        load.wait_for_more("orders are made again", &load.made, 20).await;
    }
    load.ended.store(true, SeqCst);
    let orders: Vec<String> = join_all(customers).await.into_iter().flat_map(Result::unwrap).collect();
    println!("{} orders, {} refusals", orders.len(), load.refused.load(SeqCst));
    shop.wait_for_events().await;
    for id in &orders {
        let order = shop.order_by_id(&token, id).await;
        assert_eq!((&order["status"], order.get("refundDueAmount")), (&"PAID".into(), None), "{order}");
    }
    expect_whole(&shop.app, orders.len()).await;
    assert_eq!(query_number(&shop.app, "SELECT count(*) FROM events").await, orders.len() as i64);
    assert_eq!(queue::dead(&shop.app).await + shop.host.log_count("panicked"), 0);
}
