//! Refunds by administrators, with the payment sandbox; and customers' disputes.

use crate::harness::database::Database;
use crate::harness::store::{Shop, stripe_down, stripe_up_again};
use crate::harness::stripe::charge_dispute;
use crate::harness::{Answer, App, eventually};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_administrator_refunds_a_part_and_then_the_rest_on_sqlite() {
    parts_and_the_rest(Database::Sqlite).await;
}

#[tokio::test]
async fn an_administrator_refunds_a_part_and_then_the_rest_on_postgres() {
    parts_and_the_rest(Database::Postgres).await;
}

/// An order of 150.50 that was paid at the sandbox.
async fn paid(shop: &Shop, token: &str) -> String {
    let made = shop.order(token, &[(1, 2)]).await;
    let url = made["paymentSession"]["url"].as_str().unwrap();
    let page = url.split_once("/stripe-sandbox/").unwrap().1;
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    shop.client.send(Method::POST, &format!("/stripe-sandbox/{page}"), &headers, Some(Vec::new())).await;
    let id = made["order"]["id"].as_str().unwrap().to_owned();
    eventually("the order is paid", || async {
        (shop.order_by_id(token, &id).await["status"] == "PAID").then_some(())
    })
    .await;
    id
}

async fn give_back(shop: &Shop, token: &str, id: &str, key: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    if !key.is_empty() {
        headers.push(("idempotency-key", key));
    }
    let path = format!("/api/orders/{id}/refunds");
    shop.client.send(Method::POST, &path, &headers, Some(body.to_string().into_bytes())).await
}

/// The amount and state of each refund of an order, once all events are delivered.
async fn refunds(shop: &Shop, token: &str, id: &str) -> Vec<(Value, String)> {
    shop.wait_for_events_about(id).await;
    let found = shop.get(&format!("/api/orders/{id}/refunds"), token).await.expect(200);
    let row = |refund: &Value| (refund["amount"].clone(), refund["state"].as_str().unwrap().to_owned());
    found["data"].as_array().unwrap().iter().map(row).collect()
}

async fn parts_and_the_rest(database: Database) {
    let shop = Shop::of(database.configure(App::store())).await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let id = paid(&shop, &ann).await;
    give_back(&shop, &ann, &id, "k", json!({ "amount": 1 })).await.expect(403);
    shop.get(&format!("/api/orders/{id}/refunds"), &ann).await.expect(403);
    give_back(&shop, &admin, &id, "", json!({ "amount": 50.25 })).await.expect(400);
    // Eight clicks at once are one refund.
    let clicks = (0..8).map(|_| give_back(&shop, &admin, &id, "k1", json!({ "amount": 50.25 })));
    let clicks: Vec<Value> = futures::future::join_all(clicks)
        .await
        .iter()
        .map(|answer| answer.expect(201)["data"][0]["id"].clone())
        .collect();
    assert!(clicks.iter().all(|id| *id == clicks[0]), "{clicks:?}");
    let done = |n: usize| {
        let (shop, admin, id) = (&shop, &admin, &id);
        eventually("the refunds have succeeded", move || async move {
            let found = refunds(shop, admin, id).await;
            (found.len() == n && found.iter().all(|(_, state)| state == "SUCCEEDED")).then_some(found)
        })
    };
    assert_eq!(done(1).await, [(json!(50.25), "SUCCEEDED".to_owned())]);
    let order = shop.order_by_id(&admin, &id).await;
    assert_eq!((&order["status"], &order["refundedAmount"]), (&json!("PAID"), &json!(50.25)));
    give_back(&shop, &admin, &id, "k1", json!({ "amount": 50.5 })).await.expect(422);
    let more = give_back(&shop, &admin, &id, "k2", json!({ "amount": 100.26 })).await.expect(409);
    assert!(more["message"].as_str().unwrap().contains("100.25"), "{more}");
    give_back(&shop, &admin, &id, "", json!({})).await.expect(201);
    done(2).await;
    let order = shop.order_by_id(&ann, &id).await;
    assert_eq!((&order["status"], &order["refundedAmount"]), (&json!("REFUNDED"), &json!(150.5)));
    give_back(&shop, &admin, &id, "", json!({})).await.expect(409);
    assert_eq!(shop.events(&[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_refund_that_the_provider_could_not_be_asked_for_is_made_once_later() {
    let shop = Shop::start().await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let id = paid(&shop, &ann).await;
    let shop = shop.restart(stripe_down).await;
    let waits = give_back(&shop, &admin, &id, "k", json!({ "amount": 20 })).await.expect(201);
    assert_eq!(waits["data"][0]["state"], "REQUESTED");
    let arguments = json!({ "olderThanMinutes": 0 });
    let output = shop.app.call("orders", "store:orders/administration#reconcile", Some(arguments)).await;
    let (_, error) = crate::harness::app::texts(&output);
    assert!(!output.status.success() && error.contains("unavailable"), "{error}");
    let shop = shop.restart(stripe_up_again).await;
    let report = shop.call("orders", "store:orders/administration#reconcile", json!({ "olderThanMinutes": 0 })).await;
    assert_eq!(report["problems"], json!([]), "{report}");
    give_back(&shop, &admin, &id, "k", json!({ "amount": 20 })).await.expect(201);
    eventually("the refund has succeeded once", || async {
        (refunds(&shop, &admin, &id).await == [(json!(20), "SUCCEEDED".to_owned())]).then_some(())
    })
    .await;
    assert_eq!(shop.order_by_id(&admin, &id).await["refundedAmount"], 20);
}

#[tokio::test]
async fn a_disputed_payment_is_found_and_not_refunded_while_the_dispute_is_open() {
    let shop = Shop::start().await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let (id, cents) = shop.small_order(&ann).await;
    let payment = shop.pay(&id, cents).await;
    let disputed = || async {
        let found = shop.get("/api/orders?disputed=true", &admin).await.expect(200);
        found["data"].as_array().unwrap().iter().map(|order| order["dispute"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(disputed().await, Vec::<Value>::new());
    shop.send_event_and_wait(&charge_dispute(&payment, "dp_1", "needs_response")).await.expect(200);
    assert_eq!(disputed().await, [json!("OPEN")]);
    shop.host.wait_for_log("DISPUTE OF ORDER").await;
    give_back(&shop, &admin, &id, "", json!({})).await.expect(409);
    shop.send_event_and_wait(&charge_dispute(&payment, "dp_1", "lost")).await.expect(200);
    assert_eq!(disputed().await, [json!("LOST")]);
    assert_eq!(shop.order_by_id(&ann, &id).await["dispute"], "LOST");
    give_back(&shop, &admin, &id, "", json!({})).await.expect(409);
}

#[tokio::test]
async fn a_value_that_no_order_can_be_made_with_stops_the_start_by_name() {
    for (name, values) in [
        ("currency", &["USD", "jpy", "isk", ""][..]),
        ("max_open_orders", &["", "0", "-1", "many", "1000001"]),
        ("unpaid_order_hours", &["0", "1.5", "2 days", "10001"]),
        ("cors_origins", &["shop.example", "https://shop.example/", "https://a.example,*", "HTTPS://A.example"]),
        ("public_url", &["shop.example", "ftp://shop.example", "/shop"]),
        ("stripe_api_url", &["", "api.stripe.com"]),
        ("stripe_success_url", &["/thanks", "javascript:alert(1)"]),
        ("stripe_cancel_url", &["shop.example/basket"]),
    ] {
        for value in values {
            let app = App::store_alone().variable(name, value);
            let output = app.souk("up", &["--listen", "127.0.0.1:0"]).await;
            let (_, err) = crate::harness::app::texts(&output);
            assert!(!output.status.success());
            assert!(err.contains(&format!("variable `{name}` is {value:?}")), "{err}");
        }
    }
}

#[tokio::test]
async fn a_store_starts_with_every_kind_of_value_that_its_variables_may_have() {
    let values = [
        ("currency", "idr"),
        ("max_open_orders", "1000000"),
        ("unpaid_order_hours", "10000"),
        ("cors_origins", "https://shop.example, http://localhost:5173,http://[::1]:80"),
        ("public_url", "https://shop.example/"),
        ("stripe_success_url", "https://shop.example/done?s={CHECKOUT_SESSION_ID}&a=b"),
        ("stripe_cancel_url", "https://shop.example"),
        ("seed", "false"),
    ];
    let app = values.into_iter().fold(App::store_alone(), |app, (name, value)| app.variable(name, value));
    let shop = Shop::of(app).await;
    let (admin, ann) = (shop.admin().await, shop.customer().await);
    let cap = shop.post("/api/products", &admin, json!({ "name": "Cap", "price": 5000 })).await.expect(201);
    let made = shop.order(&ann, &[(cap["id"].as_u64().unwrap(), 1)]).await;
    assert_eq!(made["paymentSession"]["cancelUrl"], "https://shop.example");
}
