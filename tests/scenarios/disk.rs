//! A state folder on a full or read-only disk: clients get an error, the log says why, and nothing that was
//! acknowledged is lost.

use super::outages::expect_outage;
use crate::harness::app::texts;
use crate::harness::database::Database;
use crate::harness::disk::Disk;
use crate::harness::store::Shop;
use crate::harness::stripe::{charge_succeeded, checkout_session_expired};
use crate::harness::stripe_api::StripeApi;
use crate::harness::{Answer, App, eventually};
use serde_json::Value;

/// The size of the disk for the state folder, in MiB: several times the size of a new state folder.
const DISK_MIB: usize = 64;
/// How many orders and events a full disk may still take.
const MAX_WRITES: usize = 2_000;

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
    // One host, because several hosts do not have the queue on their disks.
    let app = stripe.store_with(App::store_alone()).variable("public_url", "https://shop.example");
    let (mut disk, app) = Disk::under(database.configure(app), DISK_MIB);
    let shop = Shop::of(app).await;
    let token = shop.customer().await;
    let mut records = Records { token, orders: Vec::new(), acknowledged: Vec::new(), refused: Vec::new() };
    records.order(&shop).await.expect(201);
    for lives in [true, false] {
        disk.fill();
        // Writes that fit into the free pages of the SQLite files may still succeed.
        let mut tries = 0..MAX_WRITES;
        let refused = loop {
            tries.next().expect("the disk is not full");
            let (ordered, event) = (records.order(&shop).await, records.send_payment_event(&shop).await);
            if ordered.status != 201 {
                expect_outage(&ordered, "an order on a full disk");
            }
            if event.status != 200 {
                break event;
            }
        };
        expect_outage(&refused, "an event on a full disk");
        println!("{} orders, {} events acknowledged", records.orders.len(), records.acknowledged.len());
        let says_why = |line: &&String| line.contains("DatabaseFull") || line.contains("disk is full");
        eventually("the log says why", || async { shop.host.log().iter().find(says_why).map(drop) }).await;
        // Reads still work.
        shop.client.get("/api/products/1").await.expect(200);
        shop.verify(&records.token).await.expect(201);
        shop.order_by_id(&records.token, records.orders[0]["order"]["id"].as_str().unwrap()).await;
        if lives {
            // When there is space again, the host continues without a restart.
            disk.make_room();
            records.complete(&shop).await;
        }
    }
    // What the host acknowledged until it was killed on a full disk is there, too.
    let app = shop.kill();
    disk.make_room();
    let shop = Shop::of(app).await;
    records.complete(&shop).await;
    assert_eq!(messages(&shop).await, 0, "dead letters");
    assert_eq!(shop.host.log_count("panicked"), 0);
}

#[tokio::test]
async fn a_full_disk_is_not_reported_as_a_full_key_value_store() {
    let (mut disk, app) = Disk::under(App::alone("rogue"), DISK_MIB);
    let host = app.start().await;
    let client = host.client();
    disk.fill();
    // Writes that fit into the free pages of the SQLite files may still succeed.
    let value = "x".repeat(4_000);
    for path in ["key-value-set/default/key", "insert-row"] {
        let failed = eventually("there is no room", || async {
            let answer = client.get(&format!("/rogue/{path}/{value}")).await;
            (answer.status != 200).then(|| answer.expect_failed())
        })
        .await;
        assert!(failed.contains("disk of the host is full") && !failed.contains("delete"), "{path}: {failed}");
    }
    host.wait_for_log("the disk of the state folder is full").await;
}

#[tokio::test]
async fn the_manifest_sets_how_large_a_database_may_become() {
    let app = App::alone("rogue").replace(
        "[component.front]\n",
        "[application.tool.souk.limits]\ndatabase_bytes = \"1MiB\"\n\n[component.front]\n",
    );
    let host = app.start().await;
    let full = host.client().get("/rogue/strain/write/20").await.expect_failed();
    assert!(full.contains("DatabaseFull"), "{full}");
    drop(host);
    let app = app.replace("\"1MiB\"", "\"64MiB\"");
    app.start().await.client().get("/rogue/strain/write/20").await.expect(200);
}

/// The requests that were sent, and their answers.
struct Records {
    token: String,
    /// The answers to orders; the idempotency key of each is its position.
    orders: Vec<Value>,
    acknowledged: Vec<Value>,
    refused: Vec<Value>,
}

impl Records {
    /// Sends the next order, or the same one again until it is made.
    async fn order(&mut self, shop: &Shop) -> Answer {
        let answer = shop.order_with_key(&self.token, &format!("key-{}", self.orders.len()), &[(1, 2)]).await;
        if answer.status == 201 {
            self.orders.push(answer.json());
        }
        answer
    }

    /// Sends the payment of the newest order or, if that was acknowledged, another event of it.
    async fn send_payment_event(&mut self, shop: &Shop) -> Answer {
        let order = self.orders.last().unwrap()["order"]["id"].as_str().unwrap();
        let known = self.acknowledged.last().is_some_and(|event| order_of(event) == order);
        let event = if known { checkout_session_expired(order) } else { charge_succeeded(order, 15050) };
        let answer = shop.send_event(&event).await;
        if answer.status == 200 { &mut self.acknowledged } else { &mut self.refused }.push(event);
        answer
    }

    /// Checks that nothing acknowledged was lost, and that the refused requests succeed now.
    async fn complete(&mut self, shop: &Shop) {
        for (i, before) in self.orders.iter().enumerate() {
            let again = shop.order_with_key(&self.token, &format!("key-{i}"), &[(1, 2)]).await;
            assert_eq!(again.expect(201), *before);
        }
        wait_for_events(shop).await;
        self.expect_paid(shop).await;
        self.order(shop).await.expect(201);
        for event in self.refused.drain(..) {
            shop.send_event_and_wait(&event).await.expect(200);
            self.acknowledged.push(event);
        }
        wait_for_events(shop).await;
        self.expect_paid(shop).await;
        let list = shop.get("/api/orders", &self.token).await.expect(200);
        assert_eq!(list["pagination"]["totalRecords"], self.orders.len());
    }

    /// Checks that every acknowledged payment was applied exactly once.
    async fn expect_paid(&self, shop: &Shop) {
        for event in self.acknowledged.iter().filter(|event| event["type"] == "charge.succeeded") {
            let order = shop.order_by_id(&self.token, order_of(event)).await;
            assert_eq!((&order["status"], order.get("refundDueAmount")), (&"PAID".into(), None), "{order}");
        }
    }
}

/// Waits until every acknowledged event has been delivered.
async fn wait_for_events(shop: &Shop) {
    eventually("no message waits", || async { (messages(shop).await == 0).then_some(()) }).await;
}

/// How many messages there are. The host must be asked, because the test cannot see its disk.
async fn messages(shop: &Shop) -> usize {
    let (out, err) = texts(&shop.app.souk("events", &["list", "--json"]).await);
    let list: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    list.as_array().unwrap().len()
}

fn order_of(event: &Value) -> &str {
    event["data"]["object"]["metadata"]["orderId"].as_str().unwrap()
}

#[tokio::test]
async fn a_read_only_state_folder_is_refused_at_the_start_and_keeps_what_it_has() {
    let (mut disk, app) = Disk::under(App::store(), DISK_MIB);
    let shop = Shop::of(app).await;
    let token = shop.customer().await;
    let (id, total) = shop.small_order(&token).await;
    shop.pay(&id, total).await;
    wait_for_events(&shop).await;
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
