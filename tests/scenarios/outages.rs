//! A service or the payment provider is down: clear answers, no lost payment, and no order that cannot be paid. Also
//! malformed events of the provider.

use crate::harness::store::{STRIPE_SECRET, Shop, down, order_body, stripe_down, stripe_up_again, up_again};
use crate::harness::{Answer, stripe};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_outage_is_503_only_for_requests_that_need_the_service() {
    let mut shop = Shop::start().await;
    let admin = shop.admin().await;
    let (order, cents) = shop.small_order(&admin).await;
    let by_id = format!("/api/orders/id/{order}");
    let by_status = format!("/api/orders/{order}");
    let (get, post, patch) = (Method::GET, Method::POST, Method::PATCH);
    let none = Value::Null;
    let login = json!({ "email": "b@example.com", "password": "Abc123!x" });
    let cancelled = json!({ "status": "CANCELLED" });
    let product = json!({ "name": "a", "price": 1 });
    for service in ["products", "orders", "auth", "passwords"] {
        let person = json!({ "name": "B", "email": format!("{service}@example.com"), "password": "Abc123!x" });
        // The request, and the services that it needs.
        let cases: [(&Method, &str, &Value, &[&str]); 11] = [
            (&get, "/api/products", &none, &["products"]),
            (&get, "/api/products/1", &none, &["products"]),
            (&post, "/api/products", &product, &["products", "auth"]),
            (&get, "/api/orders", &none, &["orders", "auth"]),
            (&get, "/api/orders/PENDING", &none, &["orders", "auth"]),
            (&get, &by_id, &none, &["orders", "auth"]),
            (&patch, &by_status, &cancelled, &["orders", "auth"]),
            (&post, "/api/orders", &order_body(&[(1, 1)]), &["orders", "auth", "products"]),
            (&post, "/api/auth/register", &person, &["auth", "passwords"]),
            (&post, "/api/auth/login", &login, &["auth", "passwords"]),
            (&post, "/api/auth/verify", &none, &["auth"]),
        ];
        shop = shop.restart(|app| down(app, service)).await;
        for (method, path, body, needs) in cases {
            let answer = shop.send(method.clone(), path, &admin, (!body.is_null()).then(|| body.clone())).await;
            let what = format!("{service} is down, {method} {path}: {answer:?}");
            if needs.contains(&service) {
                expect_outage(&answer, &what);
            } else {
                // The service itself answers, so it is no 5xx.
                assert!(answer.status < 500, "{what}");
            }
        }
        // An event is stored, whichever service is down.
        shop.send_event(&stripe::charge_succeeded(&order, cents)).await.expect(200);
        shop = shop.restart(|app| up_again(app, service)).await;
        shop.get(&by_id, &admin).await.expect(200);
    }
}

/// Asserts that an answer is the error for outages, which names no internals.
pub(super) fn expect_outage(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}");
    assert!(answer.header("retry-after").is_some_and(|text| text.parse::<u32>().is_ok()), "{what}");
    let body = answer.json();
    let message = body["message"].as_str().unwrap_or_default();
    assert_eq!(body, json!({ "status": 503, "message": message }), "{what}");
    assert!(message.ends_with(", please try again"), "{what}");
}

#[tokio::test]
async fn an_order_whose_page_could_not_be_opened_is_completed_later() {
    let shop = Shop::start().await.restart(stripe_down).await;
    let ann = shop.customer().await;
    let bearer = format!("Bearer {ann}");
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "order-1")];
    let body = order_body(&[(1, 2)]);
    let with_key = async |shop: &Shop| {
        shop.client.send(Method::POST, "/api/orders", &headers, Some(body.to_string().into_bytes())).await
    };
    let mut orders = Vec::new();
    for answer in [with_key(&shop).await, shop.post("/api/orders", &ann, body.clone()).await] {
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        let refused = answer.expect(503);
        let id = refused["orderId"].as_str().expect("the order's id").to_owned();
        assert!(refused["message"].as_str().unwrap().contains(&format!("/api/orders/{id}/pay")), "{refused}");
        assert_eq!(shop.order_by_id(&ann, &id).await["status"], "PENDING");
        orders.push(id);
    }
    // A retry does not succeed yet, but makes no second order.
    assert_eq!(with_key(&shop).await.expect(503)["orderId"], *orders[0]);
    shop.post(&format!("/api/orders/{}/pay", orders[1]), &ann, json!({})).await.expect(503);

    let shop = shop.restart(stripe_up_again).await;
    let by_key = with_key(&shop).await.expect(201);
    assert_eq!(with_key(&shop).await.expect(201), by_key, "a repetition gets the same answer");
    let by_pay = shop.post(&format!("/api/orders/{}/pay", orders[1]), &ann, json!({})).await.expect(201);
    for (id, checkout) in orders.iter().zip([&by_key, &by_pay]) {
        assert_eq!(checkout["order"]["id"], **id);
        let url = checkout["paymentSession"]["url"].as_str().unwrap();
        let page = url.strip_prefix(&format!("http://{}", shop.host.address())).expect("a page of the sandbox");
        assert_eq!(shop.client.get(page).await.status, 200);
        shop.pay(id, 15050).await;
        assert_eq!(shop.order_by_id(&ann, id).await["status"], "PAID");
    }
    assert_eq!(shop.get("/api/orders", &ann).await.expect(200)["pagination"]["totalRecords"], 2);
}

#[tokio::test]
async fn no_payment_is_lost_when_orders_are_down() {
    let shop = Shop::start().await;
    let ann = shop.customer().await;
    let (id, cents) = shop.small_order(&ann).await;
    let event = stripe::charge_succeeded(&id, cents);
    let shop = shop.restart(|app| down(app, "orders")).await;
    // The event is stored before it is acknowledged, so the provider need not send it again.
    shop.send_event(&event).await.expect(200);
    assert_eq!(shop.events(&[]).await.len(), 1);
    let shop = shop.restart(|app| up_again(app, "orders")).await;
    shop.wait_for_events().await;
    assert_eq!(shop.order_by_id(&ann, &id).await["status"], "PAID");
    // A killed host does not lose its work.
    let shop = Shop::of(shop.kill()).await;
    assert_eq!(shop.order_by_id(&ann, &id).await["status"], "PAID");
}

#[tokio::test]
async fn a_charge_without_a_receipt_pays() {
    let shop = Shop::start().await;
    let ann = shop.customer().await;
    for receipt in [Some(Value::Null), Some(json!("")), None] {
        let (id, cents) = shop.small_order(&ann).await;
        let mut event = stripe::charge_succeeded(&id, cents);
        let charge = event["data"]["object"].as_object_mut().unwrap();
        match &receipt {
            Some(receipt) => drop(charge.insert("receipt_url".to_owned(), receipt.clone())),
            None => drop(charge.remove("receipt_url")),
        }
        shop.send_event_and_wait(&event).await.expect(200);
        let order = shop.order_by_id(&ann, &id).await;
        assert_eq!((&order["status"], order.get("receiptUrl")), (&json!("PAID"), None), "{receipt:?}: {order}");
    }
}

#[tokio::test]
async fn a_signed_body_that_is_not_an_event_is_refused() {
    let shop = Shop::start().await;
    for body in ["[]", "{}", "null", "5", r#""text""#, r#"[{"id":"evt_1","type":"a"}]"#, r#"{"id":"evt_1"}"#, "{"] {
        let signature = stripe::signature(STRIPE_SECRET, body.as_bytes(), stripe::now());
        stripe::post(&shop.client, &signature, body.into()).await.expect(400);
    }
}

#[tokio::test]
async fn a_signature_is_valid_for_five_minutes_before_and_after_its_time() {
    let shop = Shop::start().await;
    let ann = shop.customer().await;
    // Some seconds of distance to the limit, because time passes before the answer.
    for (seconds, good) in [(1000, false), (330, false), (270, true), (0, true), (-270, true), (-301, false)] {
        let (id, cents) = shop.small_order(&ann).await;
        let event = stripe::charge_succeeded(&id, cents).to_string().into_bytes();
        let signature = stripe::signature(STRIPE_SECRET, &event, stripe::now().saturating_add_signed(seconds));
        let answer = stripe::post(&shop.client, &signature, event).await;
        assert_eq!(answer.status, if good { 200 } else { 400 }, "{seconds} s: {answer:?}");
        if !good {
            assert_eq!(answer.text(), "Webhook Error: Timestamp outside the tolerance zone");
        }
        shop.wait_for_events().await;
        let status = if good { "PAID" } else { "PENDING" };
        assert_eq!(shop.order_by_id(&ann, &id).await["status"], status, "{seconds} s");
    }
}

#[tokio::test]
async fn the_webhook_checks_the_raw_bytes_with_any_content_type() {
    let shop = Shop::start().await;
    let ann = shop.customer().await;
    for kind in ["text/plain", "application/octet-stream", "application/json", ""] {
        let (id, cents) = shop.small_order(&ann).await;
        // Whitespace that is lost when JSON is parsed and written again.
        let event = format!("  {:#}\n", stripe::charge_succeeded(&id, cents)).into_bytes();
        let signature = stripe::signature(STRIPE_SECRET, &event, stripe::now());
        let mut headers = vec![("stripe-signature", signature.as_str())];
        if !kind.is_empty() {
            headers.push(("content-type", kind));
        }
        shop.client.send(Method::POST, "/payments/webhook", &headers, Some(event)).await.expect(200);
        shop.wait_for_events().await;
        assert_eq!(shop.order_by_id(&ann, &id).await["status"], "PAID", "{kind}");
    }
}
