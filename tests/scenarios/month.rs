//! A month in the life of a store: thirty customers, two hundred orders, payments that come once, twice or without an
//! event, refunds, disputes, deletions, and a host that is killed. In the end an administrator closes the books with
//! the API only, and they agree with the payment provider's, to the cent.

use crate::harness::database::Database;
use crate::harness::eventually;
use crate::harness::store::{PASSWORD, Shop, fresh_email, order_body, token, try_order};
use crate::harness::stripe::{charge_dispute, charge_refunded, charge_succeeded};
use crate::harness::stripe_api::StripeApi;
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CUSTOMERS: usize = 30;
const ORDERS: usize = 200;
/// How many orders are made in parallel.
const AT_ONCE: usize = 8;

/// What happens to an order; its number decides.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Paid,
    /// The provider gets the money, but its event is lost.
    Untold,
    Twice,
    Cancelled,
    Forgotten,
}

fn fate(n: usize) -> Fate {
    match n % 10 {
        6 => Fate::Untold,
        7 => Fate::Twice,
        8 => Fate::Cancelled,
        9 => Fate::Forgotten,
        _ => Fate::Paid,
    }
}

/// An order, and the provider's data about it.
struct Placed {
    id: String,
    cents: u64,
    fate: Fate,
    /// The captured charges, each with the amount that was refunded.
    charges: Vec<(Value, u64)>,
}

#[tokio::test]
async fn the_books_of_a_month_agree_to_the_cent_on_sqlite() {
    month(Database::Sqlite).await;
}

#[tokio::test]
async fn the_books_of_a_month_agree_to_the_cent_on_postgres() {
    month(Database::Postgres).await;
}

async fn month(database: Database) {
    let stripe = StripeApi::start().await;
    let app = database.configure(stripe.store().variable("public_url", "https://shop.example"));
    let mut shop = Shop::of(app).await;
    let admin = shop.admin().await;
    let mut customers = Vec::new();
    for _ in 0..CUSTOMERS {
        let email = fresh_email();
        customers.push((token(&shop.register(&email).await), email));
    }
    let mut orders = Vec::new();
    for half in [0..ORDERS / 2, ORDERS / 2..ORDERS] {
        for numbers in half.collect::<Vec<_>>().chunks(AT_ONCE) {
            orders.extend(join_all(numbers.iter().map(|n| place(&shop, &customers, *n))).await);
        }
        let from = orders.len() - ORDERS / 2;
        for (n, order) in orders.iter_mut().enumerate().skip(from) {
            apply_fate(&shop, &stripe, &customers[n % CUSTOMERS].0, order).await;
        }
        if from == 0 {
            // Everything acknowledged survives the kill.
            shop = Shop::of(shop.kill()).await;
        }
    }
    shop.wait_for_events().await;
    reconcile_lost_events(&shop, &orders).await;
    refund_orders(&shop, &admin, &mut orders).await;
    let disputed = dispute(&shop, &orders).await;
    delete_accounts_and_a_product(&shop, &admin, &customers).await;
    close_books(&shop, &admin, &orders, disputed).await;
}

/// Sends an order twice with the same idempotency key, which makes one order.
async fn place(shop: &Shop, customers: &[(String, String)], n: usize) -> Placed {
    let token = &customers[n % CUSTOMERS].0;
    let lines = [(1 + n as u64 % 5, 1 + n as u32 % 3), (7, 1)];
    let key = format!("order-{n}");
    let made = try_order(&shop.client, token, &key, &lines).await.expect("an answer").expect(201);
    if n.is_multiple_of(7) {
        let again = try_order(&shop.client, token, &key, &lines).await.expect("an answer").expect(201);
        assert_eq!(again["order"]["id"], made["order"]["id"], "{}", order_body(&lines));
    }
    let id = made["order"]["id"].as_str().unwrap().to_owned();
    let cents = cents_of(&made["order"]["totalAmount"].to_string());
    Placed { id, cents, fate: fate(n), charges: Vec::new() }
}

async fn apply_fate(shop: &Shop, stripe: &StripeApi, customer: &str, order: &mut Placed) {
    let charges = match order.fate {
        Fate::Paid | Fate::Untold => 1,
        Fate::Twice => 2,
        Fate::Cancelled => {
            let path = format!("/api/orders/{}", order.id);
            shop.patch(&path, customer, json!({ "status": "CANCELLED" })).await.expect(200);
            0
        }
        Fate::Forgotten => 0,
    };
    for _ in 0..charges {
        let event = charge_succeeded(&order.id, order.cents);
        if order.fate == Fate::Untold {
            stripe.pay(&order.id, &event["data"]["object"]);
        } else {
            shop.send_event(&event).await.expect(200);
            // Stripe sends some events again.
            if order.cents.is_multiple_of(3) {
                shop.send_event(&event).await.expect(200);
            }
        }
        order.charges.push((event, 0));
    }
}

/// Checks that the operator's `reconcile` finds every payment whose event was lost, and no other.
async fn reconcile_lost_events(shop: &Shop, orders: &[Placed]) {
    let (mut found, mut after) = (Vec::new(), Value::Null);
    loop {
        let arguments = json!({ "olderThanMinutes": 0, "after": after });
        let report = shop.call("orders", "store:orders/administration#reconcile", arguments).await;
        assert_eq!(report["problems"], json!([]), "{report}");
        found.extend(report["paid"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        after = report["next"].clone();
        if after.is_null() {
            break;
        }
    }
    let mut untold: Vec<String> =
        orders.iter().filter(|order| order.fate == Fate::Untold).map(|order| order.id.clone()).collect();
    found.sort();
    untold.sort();
    assert_eq!(found, untold);
}

/// The orders that a search finds, page after page.
async fn found(shop: &Shop, admin: &str, query: &str) -> Vec<Value> {
    let (mut orders, mut after) = (Vec::new(), String::new());
    loop {
        let page = shop.get(&format!("/api/orders?limit=50&{query}{after}"), admin).await.expect(200);
        orders.extend(page["data"].as_array().unwrap().iter().cloned());
        match &page["next"] {
            Value::Null => return orders,
            next => after = format!("&after={}", next.as_str().unwrap()),
        }
    }
}

/// Requests a refund twice with one key, and sends the provider's event for it.
async fn refund(shop: &Shop, admin: &str, order: &mut Placed, charge: usize, cents: u64) {
    let (bearer, key) = (format!("Bearer {admin}"), format!("{}-{cents}", order.id));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", &key)];
    let body = format!("{{\"amount\":{}.{:02}}}", cents / 100, cents % 100);
    for _ in 0..2 {
        let path = format!("/api/orders/{}/refunds", order.id);
        let made = shop.client.send(Method::POST, &path, &headers, Some(body.clone().into_bytes())).await.expect(201);
        assert_eq!(made["data"].as_array().unwrap().len(), 1, "{made}");
    }
    let (event, back) = &mut order.charges[charge];
    *back += cents;
    let event = charge_refunded(event, *back);
    shop.send_event(&event).await.expect(200);
}

/// Refunds what customers have paid too much, and refunds some orders in part and some completely.
async fn refund_orders(shop: &Shop, admin: &str, orders: &mut [Placed]) {
    let due: BTreeMap<String, u64> = found(shop, admin, "refundDue=true")
        .await
        .iter()
        .map(|order| (order["id"].as_str().unwrap().to_owned(), cents_of(&order["refundDueAmount"].to_string())))
        .collect();
    assert_eq!(due.len(), orders.iter().filter(|order| order.fate == Fate::Twice).count());
    for (n, order) in orders.iter_mut().enumerate() {
        if let Some(cents) = due.get(&order.id) {
            // The store decides which of the two charges pays the order.
            let paid_by = shop.get(&format!("/api/orders/id/{}", order.id), admin).await.expect(200);
            let pays = |(event, _): &(Value, u64)| event["data"]["object"]["id"] == paid_by["stripeChargeId"];
            let other = order.charges.iter().position(|charge| !pays(charge)).unwrap();
            refund(shop, admin, order, other, *cents).await;
        } else if order.fate == Fate::Paid && n % 20 == 0 {
            refund(shop, admin, order, 0, 1000).await;
        } else if order.fate == Fate::Paid && n % 20 == 10 {
            let cents = order.cents;
            refund(shop, admin, order, 0, cents).await;
        }
    }
    shop.wait_for_events().await;
    assert_eq!(found(shop, admin, "refundDue=true").await, Vec::<Value>::new());
}

/// Some customers dispute a payment at their bank; returns how many.
async fn dispute(shop: &Shop, orders: &[Placed]) -> usize {
    let mut disputed = 0;
    for order in orders.iter().skip(1).step_by(50).filter(|order| order.fate == Fate::Paid) {
        let id = format!("dp_{}", order.id);
        for status in ["needs_response", if disputed == 0 { "lost" } else { "won" }] {
            shop.send_event_and_wait(&charge_dispute(&order.charges[0].0, &id, status)).await.expect(200);
        }
        disputed += 1;
    }
    disputed
}

/// Deletes accounts, and deletes and restores a product; no order may change.
async fn delete_accounts_and_a_product(shop: &Shop, admin: &str, customers: &[(String, String)]) {
    for (token, _) in customers.iter().take(3) {
        shop.post("/api/auth/delete-account", token, json!({ "password": PASSWORD })).await.expect(201);
    }
    shop.send(Method::DELETE, "/api/products/7", admin, None).await.expect(200);
    shop.patch("/api/products/1", admin, json!({ "price": 1.5 })).await.expect(200);
    shop.post("/api/products/7/restore", admin, json!({})).await.expect(201);
}

/// The administrator closes the month: the export has all the data that this needs.
async fn close_books(shop: &Shop, admin: &str, orders: &[Placed], disputed: usize) {
    let csv = shop.get("/api/orders/export", admin).await;
    assert_eq!(csv.status, 200);
    let text = csv.text();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: BTreeMap<&str, BTreeMap<&str, &str>> = lines
        .map(|line| columns.iter().copied().zip(line.split(',')).collect::<BTreeMap<_, _>>())
        .map(|row| (row["id"], row))
        .collect();
    assert_eq!(rows.len(), ORDERS);
    let (mut gross, mut refunded, mut gone) = (0, 0, 0);
    let mut statuses = BTreeMap::<&str, usize>::new();
    for row in rows.values() {
        if !row["paidAt"].is_empty() {
            gross += cents_of(row["totalAmount"]);
            refunded += cents_of(row["refundedAmount"]);
        }
        assert_eq!(row["refundDueAmount"], "0.00");
        assert_eq!(row["customerId"].len(), 24);
        gone += usize::from(row["customerEmail"].is_empty());
        *statuses.entry(row["status"]).or_default() += 1;
    }
    // The provider's books: for an order that was paid twice, one payment was refunded completely.
    let captured: u64 = orders.iter().map(|order| order.charges.len() as u64 * order.cents).sum();
    let back: u64 = orders.iter().flat_map(|order| &order.charges).map(|(_, back)| back).sum();
    let twice: u64 = orders.iter().filter(|order| order.fate == Fate::Twice).map(|order| order.cents).sum();
    assert_eq!((gross, refunded), (captured - twice, back - twice));
    let count = |fits: &dyn Fn(usize) -> bool| (0..ORDERS).filter(|n| fits(*n)).count();
    let expected = BTreeMap::from([
        ("CANCELLED", count(&|n| fate(n) == Fate::Cancelled)),
        ("PENDING", count(&|n| fate(n) == Fate::Forgotten)),
        ("REFUNDED", count(&|n| n % 20 == 10)),
        ("PAID", count(&|n| matches!(fate(n), Fate::Paid | Fate::Untold | Fate::Twice) && n % 20 != 10)),
    ]);
    assert_eq!(statuses, expected);
    assert_eq!(gone, (0..ORDERS).filter(|n| n % CUSTOMERS < 3).count());
    assert_eq!(found(shop, admin, "disputed=true").await.len(), disputed);
    // The history says who made each refund.
    let whole = &orders[10];
    let history = shop.get(&format!("/api/orders/id/{}/history", whole.id), admin).await.expect(200);
    let last = history["data"].as_array().unwrap().iter().rfind(|change| change["what"] == "STATUS");
    assert_eq!(last.unwrap()["to"], "REFUNDED", "{history}");
    for loud in ["panicked", "trap", "internal error"] {
        assert_eq!(shop.host.log_count(loud), 0, "{loud:?} in the log");
    }
    let dead = || async { shop.events(&[]).await.is_empty().then_some(()) };
    eventually("no message waits or is dead", dead).await;
}

/// The cents in a decimal amount.
fn cents_of(text: &str) -> u64 {
    let (units, decimals) = text.split_once('.').unwrap_or((text, ""));
    units.parse::<u64>().unwrap() * 100 + format!("{decimals:0<2}").parse::<u64>().unwrap()
}
