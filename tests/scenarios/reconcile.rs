//! The payment provider's events got lost: an operator's `reconcile` asks the provider and corrects the orders.

use crate::harness::database::Database;
use crate::harness::store::{Shop, try_order};
use crate::harness::stripe::charge_succeeded;
use crate::harness::stripe_api::{Next, StripeApi, refusal};
use crate::harness::{app, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// A store whose Stripe is a stand-in, and a customer's token.
async fn open() -> (StripeApi, Shop, String) {
    open_on(Database::Sqlite).await
}

async fn open_on(database: Database) -> (StripeApi, Shop, String) {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(database.configure(stripe.store())).await;
    let token = shop.customer().await;
    (stripe, shop, token)
}

async fn reconcile(shop: &Shop, minutes: u32) -> Value {
    let arguments = json!({ "olderThanMinutes": minutes });
    shop.call("orders", "store:orders/administration#reconcile", arguments).await
}

async fn status(shop: &Shop, token: &str, id: &str) -> Value {
    shop.order_by_id(token, id).await["status"].clone()
}

#[tokio::test]
async fn payments_without_an_event_are_found_on_sqlite() {
    payments_are_found(Database::Sqlite).await;
}

#[tokio::test]
async fn payments_without_an_event_are_found_on_postgres() {
    payments_are_found(Database::Postgres).await;
}

async fn payments_are_found(database: Database) {
    let (stripe, shop, token) = open_on(database).await;
    let (paid, cents) = shop.small_order(&token).await;
    let (open, _) = shop.small_order(&token).await;
    let (ended, _) = shop.small_order(&token).await;
    let charge = charge_succeeded(&paid, cents)["data"]["object"].clone();
    stripe.pay(&paid, &charge);
    stripe.expire(&ended);
    stripe.asked();

    let nothing = json!({ "asked": 0, "paid": [], "ended": 0, "problems": [], "next": null });
    assert_eq!(reconcile(&shop, 60).await, nothing, "recent orders must wait for their events");
    assert_eq!(stripe.asked().len(), 0);

    let report = reconcile(&shop, 0).await;
    assert_eq!(report, json!({ "asked": 3, "paid": [paid], "ended": 1, "problems": [], "next": null }));
    let order = shop.order_by_id(&token, &paid).await;
    assert_eq!(order["status"], "PAID");
    assert_eq!(order["stripeChargeId"], charge["id"]);
    assert_eq!(status(&shop, &token, &open).await, "PENDING");
    assert_eq!(status(&shop, &token, &ended).await, "PENDING");

    // The store does not ask about corrected orders again, and a late event changes nothing.
    let report = reconcile(&shop, 0).await;
    assert_eq!(report, json!({ "asked": 1, "paid": [], "ended": 0, "problems": [], "next": null }));
    let mut event = charge_succeeded(&paid, cents);
    event["data"]["object"]["id"] = charge["id"].clone();
    shop.send_event_and_wait(&event).await.expect(200);
    let told = shop.order_by_id(&token, &paid).await;
    assert_eq!((&told["status"], &told["stripeChargeId"]), (&order["status"], &order["stripeChargeId"]));
    assert_eq!(shop.host.log_count("flagged for refund"), 0);
}

#[tokio::test]
async fn refunds_without_an_event_are_settled_on_sqlite() {
    refunds_are_settled(Database::Sqlite).await;
}

#[tokio::test]
async fn refunds_without_an_event_are_settled_on_postgres() {
    refunds_are_settled(Database::Postgres).await;
}

async fn refunds_are_settled(database: Database) {
    let (stripe, shop, token) = open_on(database).await;
    let admin = shop.admin().await;
    let (id, cents) = shop.small_order(&token).await;
    let mut charge = charge_succeeded(&id, cents)["data"]["object"].clone();
    stripe.pay(&id, &charge);
    assert_eq!(reconcile(&shop, 0).await["paid"], json!([id]));
    let refunds = format!("/api/orders/{id}/refunds");
    let refund = async || shop.get(&refunds, &admin).await.expect(200)["data"][0].clone();
    stripe.next([Next::Answer(200, json!({ "id": "re_1", "object": "refund" }).to_string())]);
    shop.post(&refunds, &admin, json!({})).await.expect(201);
    assert_eq!(refund().await["state"], "SENT");
    stripe.asked();

    let nothing = json!({ "asked": 0, "paid": [], "ended": 0, "problems": [], "next": null });
    assert_eq!(reconcile(&shop, 60).await, nothing, "a recent refund waits for its event");
    assert_eq!(stripe.asked().len(), 0);

    let refund_id = refund().await["id"].clone();
    let list = |status: &str, charge: &Value| {
        let metadata = json!({ "orderId": id, "refundId": refund_id });
        let refund =
            json!({ "id": "re_1", "object": "refund", "status": status, "charge": charge, "metadata": metadata });
        Next::Answer(200, json!({ "object": "list", "has_more": false, "data": [refund] }).to_string())
    };
    stripe.next([list("pending", &charge)]);
    assert_eq!(reconcile(&shop, 0).await, nothing);
    assert_eq!(refund().await["state"], "SENT");
    let [asked] = <[_; 1]>::try_from(stripe.asked()).unwrap();
    assert!(asked.uri.to_string().starts_with(&format!("/v1/refunds?charge={}&", charge["id"].as_str().unwrap())));

    stripe.next([Next::Answer(200, json!({ "object": "list", "has_more": false, "data": [] }).to_string())]);
    let problems = reconcile(&shop, 0).await["problems"].clone();
    assert!(problems[0]["message"].as_str().unwrap().contains("has no refund"), "{problems}");

    charge["amount_refunded"] = json!(cents);
    stripe.next([list("succeeded", &charge)]);
    assert_eq!(reconcile(&shop, 0).await, nothing);
    assert_eq!(refund().await["state"], "SUCCEEDED");
    let order = shop.order_by_id(&admin, &id).await;
    assert_eq!((&order["status"], &order["refundedAmount"]), (&json!("REFUNDED"), &order["totalAmount"]));
    stripe.asked();
    assert_eq!(reconcile(&shop, 0).await, nothing);
    assert_eq!(stripe.asked().len(), 0, "nothing is left to ask for");
}

#[tokio::test]
async fn a_payment_whose_event_comes_while_the_provider_is_asked_is_reported_on_sqlite() {
    events_meanwhile_are_reported(Database::Sqlite).await;
}

#[tokio::test]
async fn a_payment_whose_event_comes_while_the_provider_is_asked_is_reported_on_postgres() {
    events_meanwhile_are_reported(Database::Postgres).await;
}

async fn events_meanwhile_are_reported(database: Database) {
    let (stripe, shop, token) = open_on(database).await;
    let (id, cents) = shop.small_order(&token).await;
    let event = charge_succeeded(&id, cents);
    stripe.pay(&id, &event["data"]["object"]);
    stripe.asked();
    let answer = Arc::new(Notify::new());
    stripe.next([Next::Held(Arc::clone(&answer))]);
    let told = async {
        eventually("the provider is asked", || async { (stripe.waiting() == 1).then_some(()) }).await;
        shop.send_event_and_wait(&event).await.expect(200);
        answer.notify_one();
    };
    let (report, ()) = tokio::join!(reconcile(&shop, 0), told);
    assert_eq!(report, json!({ "asked": 1, "paid": [id], "ended": 0, "problems": [], "next": null }));
    assert_eq!(status(&shop, &token, &id).await, "PAID");
    assert_eq!(shop.host.log_count("flagged for refund"), 0);
    assert_eq!(reconcile(&shop, 0).await["paid"], json!([]));
}

#[tokio::test]
async fn pages_of_cancelled_orders_are_ended_and_what_was_paid_on_them_is_flagged() {
    let (stripe, shop, token) = open().await;
    let (open, _) = shop.small_order(&token).await;
    let (paid, cents) = shop.small_order(&token).await;
    for id in [&open, &paid] {
        // Cancelling the order does not expire the page, because the provider refuses.
        stripe.next([refusal(400, "invalid_request_error", "", "Not now")]);
        shop.patch(&format!("/api/orders/{id}"), &token, json!({ "status": "CANCELLED" })).await.expect(200);
    }
    stripe.pay(&paid, &charge_succeeded(&paid, cents)["data"]["object"]);
    let report = reconcile(&shop, 0).await;
    assert_eq!(report, json!({ "asked": 2, "paid": [paid], "ended": 1, "problems": [], "next": null }));
    assert_eq!(stripe.status(&open), "expired");
    assert_eq!(status(&shop, &token, &paid).await, "CANCELLED");
    shop.host.wait_for_log(&format!("order {paid} is CANCELLED: ")).await;
    assert_eq!(reconcile(&shop, 0).await["asked"], 0);
}

#[tokio::test]
async fn payments_that_do_not_fit_are_reported_and_change_nothing() {
    let (stripe, shop, token) = open().await;
    let (other_amount, cents) = shop.small_order(&token).await;
    stripe.pay(&other_amount, &charge_succeeded(&other_amount, cents + 1)["data"]["object"]);
    let (unknown, _) = shop.small_order(&token).await;
    let (unreadable, _) = shop.small_order(&token).await;
    let (paid, cents) = shop.small_order(&token).await;
    stripe.pay(&paid, &charge_succeeded(&paid, cents)["data"]["object"]);
    stripe.next([
        Next::Session,
        refusal(404, "invalid_request_error", "resource_missing", "No such session"),
        Next::Answer(200, json!({ "id": "cs_1", "object": "checkout.session" }).to_string()),
    ]);
    let report = reconcile(&shop, 0).await;
    // `reconcile` still checks the orders after them.
    assert_eq!((&report["asked"], &report["paid"], &report["ended"]), (&json!(4), &json!([paid]), &json!(0)));
    let problems: Vec<&Value> = report["problems"].as_array().unwrap().iter().map(|p| &p["orderId"]).collect();
    assert_eq!(problems, [&json!(other_amount), &json!(unknown), &json!(unreadable)]);
    assert_eq!(status(&shop, &token, &other_amount).await, "PENDING");
}

#[tokio::test]
async fn while_the_provider_does_not_answer_reconcile_changes_nothing_and_can_be_repeated() {
    let (stripe, shop, token) = open().await;
    let (paid, cents) = shop.small_order(&token).await;
    stripe.pay(&paid, &charge_succeeded(&paid, cents)["data"]["object"]);
    stripe.next(std::iter::repeat_n(refusal(503, "api_error", "", "Down"), 10));
    let arguments = json!({ "olderThanMinutes": 0 });
    let output = shop.app.call("orders", "store:orders/administration#reconcile", Some(arguments)).await;
    let (_, error) = app::texts(&output);
    assert!(!output.status.success() && error.contains("unavailable"), "{error}");
    stripe.next([]);
    assert_eq!(reconcile(&shop, 0).await["paid"], json!([paid]));
}

#[tokio::test]
async fn a_page_whose_answer_was_lost_is_found_with_what_was_paid_on_it() {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(stripe.store().variable("public_url", "https://shop.example")).await;
    let token = shop.customer().await;
    // The provider makes a page, but the host is killed before it gets the answer.
    stripe.next([Next::Silence]);
    let lost = tokio::spawn({
        let (client, token) = (shop.client.clone(), token.clone());
        async move { try_order(&client, &token, "key-1", &[(1, 2)]).await.map(|answer| answer.status) }
    });
    let id = eventually("the page is made", || async { stripe.sessions().first().cloned() }).await;
    let shop = Shop::of(shop.kill()).await;
    assert!(lost.await.unwrap().is_err(), "the order was answered");
    stripe.pay(&id, &charge_succeeded(&id, 15050)["data"]["object"]);
    let report = reconcile(&shop, 0).await;
    assert_eq!(report, json!({ "asked": 1, "paid": [id], "ended": 0, "problems": [], "next": null }));
    assert_eq!(status(&shop, &token, &id).await, "PAID");
    assert_eq!(stripe.sessions(), [id]);
}

#[tokio::test]
async fn many_orders_are_reconciled_in_steps() {
    let (stripe, shop, token) = open().await;
    let mut orders = Vec::new();
    for _ in 0..101 {
        orders.push(shop.small_order(&token).await.0);
    }
    let first = reconcile(&shop, 0).await;
    assert_eq!((&first["asked"], &first["next"]), (&json!(100), &json!(orders[99])));
    let arguments = json!({ "olderThanMinutes": 0, "after": first["next"] });
    let second = shop.call("orders", "store:orders/administration#reconcile", arguments).await;
    assert_eq!((&second["asked"], &second["next"]), (&json!(1), &json!(null)));
    assert_eq!(stripe.sessions().len(), 101);
}
