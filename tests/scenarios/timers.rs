//! The store's schedules: unpaid orders expire, and the store asks the payment provider about payments without events.

use crate::harness::database::{Database, query_number};
use crate::harness::eventually;
use crate::harness::store::Shop;
use crate::harness::stripe::charge_succeeded;
use crate::harness::stripe_api::StripeApi;
use serde_json::{Value, json};

const EXPIRE: &str = "store:orders/timers#expire-unpaid";

async fn status(shop: &Shop, token: &str, id: &str) -> Value {
    shop.order_by_id(token, id).await["status"].clone()
}

/// Makes all existing orders years old.
async fn age(shop: &Shop) {
    query_number(&shop.app, "UPDATE orders SET created_at = '2020-01-01T00:00:00.000Z' RETURNING CAST(1 AS BIGINT)")
        .await;
}

#[tokio::test]
async fn unpaid_orders_expire_with_their_pages_on_sqlite() {
    unpaid_orders_expire(Database::Sqlite).await;
}

#[tokio::test]
async fn unpaid_orders_expire_with_their_pages_on_postgres() {
    unpaid_orders_expire(Database::Postgres).await;
}

async fn unpaid_orders_expire(database: Database) {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(database.configure(stripe.store()).variable("unpaid_order_hours", 48)).await;
    let token = shop.customer().await;
    let (open, _) = shop.small_order(&token).await;
    let (ended, _) = shop.small_order(&token).await;
    let (paid, cents) = shop.small_order(&token).await;
    stripe.expire(&ended);
    // The payment's event was lost.
    stripe.pay(&paid, &charge_succeeded(&paid, cents)["data"]["object"]);
    age(&shop).await;
    let (young, _) = shop.small_order(&token).await;
    for _ in 0..2 {
        // A schedule's call, which may come twice.
        assert_eq!(shop.call("orders", EXPIRE, json!({})).await, Value::Null);
        assert_eq!(status(&shop, &token, &open).await, "CANCELLED");
        assert_eq!(stripe.status(&open), "expired");
        assert_eq!(status(&shop, &token, &ended).await, "CANCELLED");
        assert_eq!(status(&shop, &token, &paid).await, "PAID");
        assert_eq!((status(&shop, &token, &young).await, stripe.status(&young)), ("PENDING".into(), "open".into()));
    }
    let line = shop.host.wait_for_log(&format!("order {open} is cancelled")).await;
    assert!(line.contains("not paid within 48 hours"), "{line}");
}

#[tokio::test]
async fn without_an_expiry_time_orders_never_expire() {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(stripe.store()).await;
    let token = shop.customer().await;
    let (open, _) = shop.small_order(&token).await;
    age(&shop).await;
    shop.call("orders", EXPIRE, json!({})).await;
    assert_eq!((status(&shop, &token, &open).await, stripe.status(&open)), ("PENDING".into(), "open".into()));
}

#[tokio::test]
async fn a_payment_without_an_event_is_found_by_the_schedule() {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(stripe.store().replace("every = \"30m\"", "every = \"1s\"")).await;
    let token = shop.customer().await;
    let (paid, cents) = shop.small_order(&token).await;
    stripe.pay(&paid, &charge_succeeded(&paid, cents)["data"]["object"]);
    age(&shop).await;
    eventually("the order is paid", || async { (status(&shop, &token, &paid).await == "PAID").then_some(()) }).await;
}
