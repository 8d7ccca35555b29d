//! Failures under load on six hosts, two for each part of the store, and what customers notice of them.
//!
//! By default each scenario takes a few seconds, at 60 requests a second. With `SOUK_LOAD_SECONDS=60` it takes a
//! minute, at 200 requests a second, and an outage of NATS lasts ten seconds.

use crate::harness::database::WriteLock;
use crate::harness::nats::Nats;
use crate::harness::redundant_store::{Load, PARTS, RedundantStore};
use crate::harness::{queue, store, stripe};
use http::Method;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Requests a second, and how many requests must be answered between two failures.
fn pace() -> (u32, usize) {
    match std::env::var("SOUK_LOAD_SECONDS") {
        Ok(seconds) => (200, seconds.parse::<usize>().expect("whole seconds") * 200 / 7),
        Err(_) => (60, 60),
    }
}

/// How long an outage of NATS lasts at least.
fn outage() -> Duration {
    Duration::from_secs(if std::env::var_os("SOUK_LOAD_SECONDS").is_some() { 10 } else { 0 })
}

/// Runs `failures` while customers send requests. Afterwards no read may have failed, and every order must exist once.
async fn endure(
    mut hosts: RedundantStore,
    failures: impl AsyncFnOnce(&mut RedundantStore, &Load, usize),
) -> RedundantStore {
    let (rate, between) = pace();
    let load = Load::new(hosts.gateways()).await;
    let customers = tokio::spawn(Arc::clone(&load).run(rate));
    load.wait_for_more(between, between / 20).await;
    failures(&mut hosts, &load, between).await;
    load.wait_for_more(between, between / 20).await;
    load.end();
    customers.await.unwrap();
    let (read, ordered, again) = (load.read.load(SeqCst), load.ordered.load(SeqCst), load.retries.load(SeqCst));
    println!("{read} reads, {ordered} orders, {again} repeated attempts");
    let failures = load.failures();
    let log =
        || hosts.logs().into_iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect::<Vec<_>>();
    assert!(failures.is_empty(), "{} of {read} reads failed: {:#?}\n{:#?}", failures.len(), &failures[..1], log());
    load.check_orders().await;
    hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_loses_no_read_and_no_order_while_another_runs_the_same() {
    endure(RedundantStore::start(Nats::start()).await, async |hosts, load, between| {
        for part in 0..PARTS.len() {
            hosts.kill(part, 0);
            load.wait_for_more(between, between / 20).await;
            hosts.up(part, 0).await;
            load.wait_for_more(between, between / 20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_and_wakes_again_loses_no_read_and_no_order_while_another_runs_the_same() {
    endure(RedundantStore::start(Nats::start()).await, async |hosts, load, between| {
        // Not the gateways: a load balancer has to notice a gateway that hangs.
        for part in 1..PARTS.len() {
            hosts.hang(part, 0, true);
            // Longer than three attempts to reach it take.
            load.wait_for_more(5 * between, between / 4).await;
            hosts.hang(part, 0, false);
            load.wait_for_more(between, between / 20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_of_three_that_is_killed_loses_no_read_and_no_order() {
    endure(RedundantStore::start(Nats::cluster()).await, async |hosts, load, between| {
        for node in 0..3 {
            tokio::task::block_in_place(|| hosts.nats.kill(node));
            load.wait_for_more(between, between / 20).await;
            tokio::task::block_in_place(|| hosts.nats.resume(node));
            load.wait_for_more(between, between / 20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_are_restarted_one_by_one_fail_no_request() {
    let hosts = RedundantStore::start(Nats::start()).await;
    endure(hosts, async |hosts, load, between| {
        let again = load.retries.load(SeqCst);
        for part in 0..PARTS.len() {
            for copy in 0..2 {
                hosts.stop(part, copy).await;
                load.wait_for_more(between / 4, 1).await;
                hosts.up(part, copy).await;
                load.wait_for_more(between / 4, 1).await;
            }
        }
        assert_eq!(load.retries.load(SeqCst), again, "requests had to be repeated");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_that_is_gone_for_a_while_is_503_and_comes_back_without_a_restart() {
    let mut hosts = RedundantStore::start(Nats::start()).await;
    let gateway = hosts.gateways().remove(0);
    let load = Load::new(vec![gateway.clone()]).await;
    let customers = tokio::spawn(Arc::clone(&load).run(20));
    load.wait_for_more(20, 2).await;
    load.end();
    customers.await.unwrap();
    // Each order was charged. Some events are sent before the outage and some during it, until they are acknowledged.
    let orders: Vec<String> = load.orders().into_values().collect();
    let events: Vec<_> = orders.iter().map(|id| stripe::charge_succeeded(id, 15050)).collect();
    let (before, during) = events.split_at(events.len() / 2);
    // The lock keeps the events that are acknowledged now from being delivered before NATS is gone.
    let held = WriteLock::orders(&hosts.app).await;
    for event in before {
        stripe::deliver(&gateway, store::STRIPE_SECRET, event).await.expect(200);
    }
    tokio::task::block_in_place(|| hosts.nats.kill(0));
    let gone = Instant::now();
    held.release().await;
    for number in (0..).take_while(|number| *number < 200 || gone.elapsed() < outage()) {
        let answer = gateway.get("/api/products/1").await;
        assert_eq!(answer.status, 503, "{number}: {answer:?}");
        let told = stripe::deliver(&gateway, store::STRIPE_SECRET, &during[number % during.len()]).await;
        assert_eq!(told.status, 503, "an event that is not stored must not be acknowledged: {told:?}");
    }
    assert_eq!(gateway.get("/.well-known/spin/health").await.status, 200);
    tokio::task::block_in_place(|| hosts.nats.resume(0));
    crate::harness::eventually("the catalogue is there again", || async {
        (gateway.get("/api/products/1").await.status == 200).then_some(())
    })
    .await;
    for event in during {
        crate::harness::eventually("an event is taken", || async {
            (stripe::deliver(&gateway, store::STRIPE_SECRET, event).await.status == 200).then_some(())
        })
        .await;
    }
    crate::harness::eventually("everything is delivered", || async {
        (queue::waiting(&hosts.app, "").await == 0).then_some(())
    })
    .await;
    for id in &orders {
        let path = format!("/api/orders/id/{id}");
        let order = store::send(&gateway, Method::GET, &path, &load.token(), None).await.expect(200);
        assert_eq!((&order["status"], order.get("refundDueAmount")), (&"PAID".into(), None), "{order}");
    }
    assert_eq!(queue::dead(&hosts.app).await, 0);
    assert!(!hosts.logs().iter().any(|line| line.contains("panicked")));
}
