//! A state folder without room, or without leave to write: whoever asks is told, the log says why, and what was
//! acknowledged is there.

use super::outages::expect_outage;
use crate::harness::database::Database;
use crate::harness::disk::Disk;
use crate::harness::store::Shop;
use crate::harness::stripe::charge_succeeded;
use crate::harness::stripe_api::StripeApi;
use crate::harness::{App, eventually, queue};
use serde_json::Value;

/// Room for the state folder, in MiB: several times what a new one takes.
const ROOM: usize = 64;
/// The most orders that a full disk may take before it refuses one: SQLite has written its log's file before it was full.
const MOST: usize = 5_000;

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing_on_sqlite() {
    full(Database::Sqlite).await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing_on_postgres() {
    full(Database::Postgres).await;
}

async fn full(database: Database) {
    let stripe = StripeApi::start().await;
    let app = stripe.store().variable("public_url", "https://shop.example");
    let (mut disk, app) = Disk::under(database.of(app), ROOM);
    let shop = Shop::of(app).await;
    let token = shop.customer().await;
    let (unpaid, total) = shop.small_order(&token).await;
    let mut events = vec![charge_succeeded(&unpaid, total)];

    disk.fill();
    let order = async |shop: &Shop, i: usize| shop.order_with_key(&token, &format!("key-{i}"), &[(1, 2)]).await;
    let mut orders: Vec<Value> = Vec::new();
    let mut acknowledged = 0;
    // Until one cannot be stored: an order where those are in the state folder, else an event.
    let refused = loop {
        assert!(orders.len() < MOST, "the disk is not full");
        let made = order(&shop, orders.len()).await;
        if made.status != 201 {
            break made;
        }
        let made = made.json();
        let event = charge_succeeded(made["order"]["id"].as_str().unwrap(), total);
        orders.push(made);
        let taken = shop.deliver(&event).await;
        events.push(event);
        if taken.status != 200 {
            break taken;
        }
        acknowledged += 1;
    };
    println!("{} orders, {acknowledged} payments, then {refused:?}", orders.len());
    expect_outage(&refused, "without room");
    let says_why = |line: &&String| line.contains("DatabaseFull") || line.contains("disk is full");
    eventually("the log says why", || async { shop.host.log().iter().find(says_why).map(drop) }).await;
    // Whoever only looks has not noticed; who would be written down is refused as clearly.
    shop.client.get("/api/products/1").await.expect(200);
    assert_eq!(shop.order_by_id(&token, &unpaid).await["status"], "PENDING");
    shop.verify(&token).await.expect(201);

    // It goes on where it was when there is room: no restart.
    disk.make_room();
    complete(&shop, &token, &mut orders, &events).await;
    // What a full disk took until the host was killed is there as well.
    disk.fill();
    let late = order(&shop, orders.len()).await;
    match late.status {
        201 => orders.push(late.json()),
        _ => expect_outage(&late, "without room again"),
    }
    let app = shop.kill();
    disk.make_room();
    let shop = Shop::of(app).await;
    complete(&shop, &token, &mut orders, &events).await;
    assert_eq!(queue::dead(&shop.app) + shop.host.log_count("panicked"), 0);
}

/// Repeats all orders and events, and the order after them, which may have been refused: those that were acknowledged
/// are as they were, and the others succeed now.
async fn complete(shop: &Shop, token: &str, orders: &mut Vec<Value>, events: &[Value]) {
    for i in 0..=orders.len() {
        let made = shop.order_with_key(token, &format!("key-{i}"), &[(1, 2)]).await.expect(201);
        match orders.get(i) {
            Some(before) => assert_eq!(made, *before),
            None => orders.push(made),
        }
    }
    for event in events {
        shop.deliver(event).await.expect(200);
    }
    shop.settled().await;
    for event in events {
        let order = shop.order_by_id(token, event["data"]["object"]["metadata"]["orderId"].as_str().unwrap()).await;
        assert_eq!((&order["status"], order.get("refundDueAmount")), (&"PAID".into(), None), "{order}");
    }
    let list = shop.get("/api/orders", token).await.expect(200);
    assert_eq!(list["pagination"]["totalRecords"], 1 + orders.len());
}

#[tokio::test]
async fn a_read_only_state_folder_is_refused_at_the_start_and_keeps_what_it_has() {
    let (mut disk, app) = Disk::under(App::store(), ROOM);
    let shop = Shop::of(app).await;
    let token = shop.customer().await;
    let (id, total) = shop.small_order(&token).await;
    shop.pay(&id, total).await;
    shop.settled().await;
    let app = shop.kill();
    disk.read_only(true);
    let said = app.start_fails().await;
    for part in ["state folder", &app.state().display().to_string(), "Read-only file system", "fix: "] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    disk.read_only(false);
    let shop = Shop::of(app).await;
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PAID");
    shop.small_order(&token).await;
}
