//! The payment sandbox through its forms: what a person clicks, and the effect on the order. The client follows
//! redirects, so an answer is the page that a browser shows in the end.

use crate::harness::store::{Shop, down, up_again};
use crate::harness::{Answer, App, eventually};
use http::Method;
use serde_json::{Value, json};

/// A store, and a customer's token.
async fn open() -> (Shop, String) {
    let shop = Shop::start().await;
    let token = shop.customer().await;
    (shop, token)
}

/// Makes an order; returns its id and the id of its payment page.
async fn order(shop: &Shop, token: &str) -> (String, String) {
    let made = shop.order(token, &[(1, 2)]).await;
    let url = made["paymentSession"]["url"].as_str().unwrap();
    let start = format!("http://{}/stripe-sandbox/pay/", shop.host.address());
    let page = url.strip_prefix(&start).unwrap_or_else(|| panic!("{url} is no page of this host"));
    (made["order"]["id"].as_str().unwrap().to_owned(), page.to_owned())
}

/// Submits a form of a payment page.
async fn click(shop: &Shop, action: &str, page: &str, form: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = format!("/stripe-sandbox/{action}/{page}");
    let answer = shop.client.send(Method::POST, &path, &headers, Some(form.into())).await;
    // The click's events are stored when it is answered; wait until they are delivered.
    shop.wait_for_events().await;
    answer
}

fn success() -> Value {
    json!({ "ok": true, "message": "Payment successful" })
}

/// The content of `<h1>`.
fn heading(answer: &Answer) -> String {
    let text = answer.text();
    let (_, rest) = text.split_once("<h1").unwrap_or_else(|| panic!("no heading: {answer:?}"));
    rest.split_once('>').unwrap().1.split_once("</h1>").unwrap().0.to_owned()
}

#[tokio::test]
async fn paying_twice_at_once_makes_one_charge() {
    let (shop, token) = open().await;
    for _ in 0..5 {
        let (id, page) = order(&shop, &token).await;
        let clicks = futures::future::join_all((0..8).map(|_| click(&shop, "pay", &page, ""))).await;
        for answer in clicks {
            assert_eq!(answer.expect(200), success());
        }
        assert_eq!(click(&shop, "pay", &page, "").await.expect(200), success());
        let paid = shop.order_by_id(&token, &id).await;
        assert_eq!((&paid["status"], paid.get("refundDueAmount")), (&json!("PAID"), None), "{paid}");
        let charge = paid["stripeChargeId"].as_str().unwrap();
        let receipt = paid["receiptUrl"].as_str().unwrap();
        assert_eq!(receipt, format!("http://{}/stripe-sandbox/receipts/{charge}", shop.host.address()));
        let receipt = shop.get(&format!("/stripe-sandbox/receipts/{charge}"), "").await;
        assert_eq!((receipt.status, heading(&receipt).as_str()), (200, "Receipt"));
        assert!(receipt.text().contains(&id) && receipt.text().contains("150.50"), "{}", receipt.text());
    }
    // One event for each payment; a payment's other events do not concern orders.
    assert_eq!(shop.events(&[]).await, Vec::<Value>::new());
    let acknowledged = || shop.host.log_count("\"payment_intent.succeeded\") acknowledged");
    eventually("all are acknowledged", async || (acknowledged() >= 5).then_some(())).await;
    assert_eq!(acknowledged(), 5);
    assert_eq!(shop.host.log_count("flagged for refund"), 0);
}

#[tokio::test]
async fn events_that_come_twice_or_shuffled_pay_once() {
    let (shop, token) = open().await;
    for (way, copies) in [("once", 1), ("duplicate", 2), ("shuffled", 1)] {
        let before = shop.host.log().len();
        let (id, page) = order(&shop, &token).await;
        let paid = click(&shop, "pay", &page, &format!("delivery={way}")).await;
        assert_eq!(paid.expect(200), success(), "{way}");
        let paid = shop.order_by_id(&token, &id).await;
        assert_eq!((&paid["status"], paid.get("refundDueAmount")), (&json!("PAID"), None), "{way}: {paid}");
        // The log shows the acknowledgement of the payment's other events, in the order in which they came.
        let log = eventually("both are in the log", || async {
            let mut log = shop.host.log().split_off(before);
            log.retain(|line| line.contains("acknowledged and ignored"));
            (log.len() >= 2 * copies).then_some(log)
        })
        .await;
        assert_eq!(log.len(), 2 * copies, "{way}: {log:?}");
        let position = |kind: &str| log.iter().position(|line| line.contains(kind)).unwrap();
        let in_order = position("payment_intent.succeeded") < position("checkout.session.completed");
        assert_eq!(in_order, way != "shuffled", "{way}: {log:?}");
    }
    let (id, page) = order(&shop, &token).await;
    let refused = click(&shop, "pay", &page, "delivery=never").await;
    assert_eq!((refused.status, heading(&refused).as_str()), (400, "Invalid form"));
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
}

#[tokio::test]
async fn events_that_a_killed_host_did_not_send_are_sent_with_later_orders() {
    let shop = Shop::of(App::store_alone()).await.restart(|app| down(app, "webhook")).await;
    let token = shop.customer().await;
    let (id, page) = order(&shop, &token).await;
    click(&shop, "pay", &page, "").await;
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
    let shop = Shop::of(up_again(shop.kill(), "webhook")).await;
    // Nobody opens the payment page again: a later order makes the sandbox send the events. Its pause between attempts
    // grows after each failure, so the first order may come too early.
    let other = shop.customer().await;
    eventually("the order is paid", || async {
        shop.order(&other, &[(1, 1)]).await;
        (shop.order_by_id(&token, &id).await["status"] == "PAID").then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_that_a_killed_host_did_not_send_are_sent_by_a_schedule_without_any_request() {
    let shop = Shop::of(App::store_alone()).await.restart(|app| down(app, "webhook")).await;
    let token = shop.customer().await;
    let (id, page) = order(&shop, &token).await;
    click(&shop, "pay", &page, "").await;
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
    // Each second, not each minute, so that the scenario takes no minute.
    let app = up_again(shop.kill(), "webhook").replace("every = \"1m\"", "every = \"1s\"");
    let shop = Shop::of(app).await;
    // Nobody asks the sandbox for anything: this only reads the order.
    eventually("the order is paid", || async {
        (shop.order_by_id(&token, &id).await["status"] == "PAID").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refund_gives_the_whole_payment_back_once() {
    let (shop, token) = open().await;
    let (id, page) = order(&shop, &token).await;
    // Before the payment, a refund does nothing.
    assert_eq!(heading(&click(&shop, "refund", &page, "").await), "Pay for your order");
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
    click(&shop, "pay", &page, "").await.expect(200);
    for receipt in futures::future::join_all((0..4).map(|_| click(&shop, "refund", &page, ""))).await {
        assert_eq!((receipt.status, heading(&receipt).as_str()), (200, "Receipt"));
        assert!(receipt.text().contains("Refunded"), "{}", receipt.text());
    }
    let order = shop.order_by_id(&token, &id).await;
    assert_eq!((&order["status"], &order["refundedAmount"]), (&json!("REFUNDED"), &json!(150.5)), "{order}");
    assert_eq!((&order["paid"], order.get("refundDueAmount")), (&json!(true), None), "{order}");
}

#[tokio::test]
async fn a_page_that_has_ended_cannot_be_paid_and_the_order_gets_another() {
    let (shop, token) = open().await;
    let (id, page) = order(&shop, &token).await;
    let ended = click(&shop, "expire", &page, "").await;
    assert_eq!((ended.status, heading(&ended).as_str()), (200, "This payment page has ended"));
    assert_eq!(heading(&click(&shop, "pay", &page, "").await), "This payment page has ended");
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
    let again = shop.post(&format!("/api/orders/{id}/pay"), &token, json!({})).await.expect(201);
    let url = again["paymentSession"]["url"].as_str().unwrap();
    let other = url.rsplit('/').next().unwrap();
    assert_ne!(other, page);
    // A page that was paid does not expire.
    click(&shop, "pay", other, "").await.expect(200);
    assert_eq!(heading(&click(&shop, "expire", other, "").await), "Paid");
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PAID");
}

#[tokio::test]
async fn cancelling_at_the_page_returns_to_the_store_and_leaves_the_page_open() {
    let (shop, token) = open().await;
    let (id, page) = order(&shop, &token).await;
    let back = click(&shop, "cancel", &page, "").await.expect(200);
    assert_eq!(back, json!({ "ok": false, "message": "Payment cancelled" }));
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
    click(&shop, "pay", &page, "").await.expect(200);
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PAID");
}

#[tokio::test]
async fn the_page_of_a_cancelled_order_has_ended() {
    let (shop, token) = open().await;
    let (id, page) = order(&shop, &token).await;
    shop.patch(&format!("/api/orders/{id}"), &token, json!({ "status": "CANCELLED" })).await.expect(200);
    assert_eq!(heading(&click(&shop, "pay", &page, "").await), "This payment page has ended");
    let order = shop.order_by_id(&token, &id).await;
    assert_eq!((&order["status"], &order["paid"]), (&json!("CANCELLED"), &json!(false)), "{order}");
}

#[tokio::test]
async fn an_unknown_page_is_a_404_page_whatever_it_is_called() {
    let (shop, token) = open().await;
    let (_, page) = order(&shop, &token).await;
    let unknown = format!("{}{}", &page[..page.len() - 1], if page.ends_with('0') { '1' } else { '0' });
    for id in [&unknown, &page.to_uppercase(), "cs_test_", "%3Cscript%3E", "..%2f..%2fetc%2fpasswd", &"x".repeat(9000)]
    {
        let mut pages = Vec::new();
        for kind in ["pay", "receipts"] {
            pages.push(shop.client.get(&format!("/stripe-sandbox/{kind}/{id}")).await);
        }
        for action in ["pay", "cancel", "expire", "refund", "dispute", "decide"] {
            pages.push(click(&shop, action, id, "state=won").await);
        }
        for answer in pages {
            assert_eq!((answer.status, heading(&answer).as_str()), (404, "No such page"), "{id}");
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{id}");
            assert!(!answer.text().contains("<script"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_products_name_is_escaped_on_the_payment_page() {
    let (shop, token) = open().await;
    let admin = shop.admin().await;
    let name = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> & Söhne";
    let product = shop.post("/api/products", &admin, json!({ "name": name, "price": 0.99 })).await.expect(201);
    let made = shop.order(&token, &[(product["id"].as_u64().unwrap(), 3)]).await;
    let page = made["paymentSession"]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let open = shop.client.get(&format!("/stripe-sandbox/pay/{page}")).await;
    click(&shop, "pay", &page, "").await.expect(200);
    let paid = shop.client.get(&format!("/stripe-sandbox/pay/{page}")).await;
    let charge = shop.order_by_id(&token, made["order"]["id"].as_str().unwrap()).await["stripeChargeId"].clone();
    let receipt = shop.client.get(&format!("/stripe-sandbox/receipts/{}", charge.as_str().unwrap())).await;
    for answer in [open, paid, receipt] {
        let text = answer.text();
        assert_eq!(answer.status, 200);
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && text.contains("&amp; Söhne"), "{text}");
        assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
        assert!(text.contains("2.97"), "{text}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_dispute_is_opened_at_the_sandbox_and_decided_once() {
    let (shop, token) = open().await;
    let admin = shop.admin().await;
    for (state, becomes, refundable) in [("won", "WON", true), ("lost", "LOST", false)] {
        let (id, page) = order(&shop, &token).await;
        // Nothing was paid: nothing happens.
        assert_eq!(heading(&click(&shop, "dispute", &page, "").await), "Pay for your order");
        click(&shop, "pay", &page, "").await.expect(200);
        assert_eq!(heading(&click(&shop, "decide", &page, "state=won").await), "Paid", "there is no dispute");
        let clicks = futures::future::join_all((0..4).map(|_| click(&shop, "dispute", &page, ""))).await;
        assert!(clicks.iter().all(|answer| answer.text().contains("The payment is disputed")), "{clicks:?}");
        let order = shop.order_by_id(&token, &id).await;
        assert_eq!((&order["status"], &order["dispute"]), (&json!("PAID"), &json!("OPEN")), "{order}");
        let refund = async || shop.post(&format!("/api/orders/{id}/refunds"), &admin, json!({})).await;
        refund().await.expect(409);
        click(&shop, "refund", &page, "").await;
        assert_eq!(shop.order_by_id(&token, &id).await.get("refundedAmount"), None, "nor at the sandbox");
        assert_eq!(click(&shop, "decide", &page, "state=open").await.status, 400);
        for state in [state, "won"] {
            let decided = click(&shop, "decide", &page, &format!("state={state}")).await;
            assert!(decided.text().contains("was disputed"), "{}", decided.text());
        }
        assert_eq!(shop.order_by_id(&token, &id).await["dispute"], becomes);
        refund().await.expect(if refundable { 201 } else { 409 });
    }
    let disputed = shop.get("/api/orders?disputed=true", &admin).await.expect(200);
    assert_eq!(disputed["data"].as_array().unwrap().len(), 2);
    assert_eq!(shop.events(&[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_total_below_the_providers_minimum_is_refused_and_leaves_no_pending_order() {
    let (shop, token) = open().await;
    let admin = shop.admin().await;
    let dime = shop.post("/api/products", &admin, json!({ "name": "Dime", "price": 0.1 })).await.expect(201);
    let dime = dime["id"].as_u64().unwrap();
    let body = json!({ "items": [{ "productId": dime, "quantity": 4 }] });
    let refused = shop.post("/api/orders", &token, body).await.expect(400);
    assert_eq!(refused["message"], "The total is less than the payment provider accepts");
    let pending = shop.get("/api/orders?status=PENDING", &token).await.expect(200);
    assert_eq!(pending["data"], json!([]));
    let made = shop.order(&token, &[(dime, 5)]).await;
    assert_eq!(made["order"]["totalAmount"], 0.5);
}

#[tokio::test]
async fn in_a_currency_of_large_numbers_orders_have_large_totals() {
    let shop = Shop::of(App::store().variable("currency", "idr")).await;
    let (admin, token) = (shop.admin().await, shop.customer().await);
    let lamp = json!({ "name": "Lamp", "price": 2_500_000 });
    let lamp = shop.post("/api/products", &admin, lamp).await.expect(201)["id"].as_u64().unwrap();
    let made = shop.order(&token, &[(lamp, 2)]).await;
    let page = made["paymentSession"]["url"].as_str().unwrap().rsplit('/').next().unwrap();
    click(&shop, "pay", page, "").await.expect(200);
    let paid = shop.order_by_id(&token, made["order"]["id"].as_str().unwrap()).await;
    assert_eq!((&paid["status"], &paid["totalAmount"]), (&json!("PAID"), &json!(5_000_000)));
    let body = json!({ "items": [{ "productId": lamp, "quantity": 4000 }] });
    let refused = shop.post("/api/orders", &token, body).await.expect(400);
    assert_eq!(refused["message"], "an order must not cost more than 9999999999.99");
}
