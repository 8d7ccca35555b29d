//! With an API key for Stripe: the requests to Stripe, the handling of its refusals, and that no order gets a second
//! payment page before the first one has ended.

use crate::harness::store::{Shop, order_body};
use crate::harness::stripe::{charge_succeeded, checkout_session_expired};
use crate::harness::stripe_api::{KEY, Next, ReceivedRequest, StripeApi, refusal, store_with_key};
use crate::harness::{Answer, eventually};
use http::Method;
use serde_json::{Value, json};

const LINES: &[(u64, u32)] = &[(1, 2)];

/// A store whose Stripe is a stand-in, and a customer's token.
async fn open() -> (StripeApi, Shop, String) {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(stripe.store()).await;
    let token = shop.customer().await;
    (stripe, shop, token)
}

fn id(answer: &Value) -> String {
    answer["order"]["id"].as_str().expect("an order").to_owned()
}

fn key(asked: &ReceivedRequest) -> &str {
    asked.headers["idempotency-key"].to_str().unwrap()
}

/// Asserts that an order was stored but cannot be paid yet; returns its id.
fn stored(answer: &Answer) -> String {
    let body = answer.expect(503);
    let id = body["orderId"].as_str().expect("an order's id").to_owned();
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("Order {id} is stored and cannot be paid yet: ")), "{message}");
    assert!(message.contains(&format!("POST /api/orders/{id}/pay")), "{message}");
    assert_eq!(body["status"], 503);
    id
}

#[tokio::test]
async fn stripe_is_sent_the_bill_as_its_api_wants_it() {
    let stripe = StripeApi::start().await;
    let app = stripe
        .store()
        .variable("currency", "eur")
        .variable("stripe_success_url", "https://shop.example/ok?s={CHECKOUT_SESSION_ID}&a=b");
    let shop = Shop::of(app).await;
    let (token, admin) = (shop.customer().await, shop.admin().await);
    let product = json!({ "name": "Teclado & más <b>100%</b>", "price": 75.25 });
    let product = shop.post("/api/products", &admin, product).await.expect(201)["id"].as_u64().unwrap();
    let made = shop.order(&token, &[(product, 2), (2, 3)]).await;
    let order = id(&made);
    let other = &made["order"]["OrderItem"][1];
    let other_cents = (other["price"].as_f64().unwrap() * 100.0).round().to_string();

    let [asked] = &stripe.asked()[..] else { panic!("more than one request, or none") };
    assert_eq!((&asked.method, asked.uri.to_string().as_str()), (&Method::POST, "/v1/checkout/sessions"));
    for (name, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("stripe-version", "2026-09-30.endive".to_owned()),
        ("idempotency-key", order.clone()),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("accept", "application/json".to_owned()),
    ] {
        assert_eq!(asked.headers[name], value, "{name}");
    }
    assert!(asked.headers.contains_key("content-length") && !asked.headers.contains_key("transfer-encoding"));
    let cancel_url = format!("http://{}/payments/cancel", shop.host.address());
    let expected = [
        ("adaptive_pricing[enabled]", "false"),
        ("cancel_url", cancel_url.as_str()),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][price_data][product_data][name]", "Teclado & más <b>100%</b>"),
        ("line_items[0][price_data][unit_amount]", "7525"),
        ("line_items[0][quantity]", "2"),
        ("line_items[1][price_data][currency]", "eur"),
        ("line_items[1][price_data][product_data][name]", other["name"].as_str().unwrap()),
        ("line_items[1][price_data][unit_amount]", &other_cents),
        ("line_items[1][quantity]", "3"),
        ("metadata[orderId]", &order),
        ("mode", "payment"),
        ("payment_intent_data[metadata][orderId]", &order),
        ("success_url", "https://shop.example/ok?s={CHECKOUT_SESSION_ID}&a=b"),
    ];
    let form: Vec<(&str, &str)> = asked.form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, expected);
    let session = stripe.session_id(&order);
    let page = json!({
        "cancelUrl": cancel_url,
        "successUrl": "https://shop.example/ok?s={CHECKOUT_SESSION_ID}&a=b",
        "url": format!("https://checkout.stripe.com/c/pay/{session}"),
    });
    assert_eq!(made["paymentSession"], page);

    // The store accepts only events in this currency.
    let total = 2 * 7525 + 3 * other_cents.parse::<u64>().unwrap();
    let mut event = charge_succeeded(&order, total);
    shop.send_event_and_wait(&event).await.expect(200);
    assert_eq!(shop.order_by_id(&token, &order).await["status"], "PENDING");
    event["id"] = "evt_in_euro".into();
    event["data"]["object"]["currency"] = "EUR".into();
    shop.send_event_and_wait(&event).await.expect(200);
    assert_eq!(shop.order_by_id(&token, &order).await["status"], "PAID");
}

#[tokio::test]
async fn a_bill_that_stripe_refuses_is_a_400_and_the_order_is_given_up() {
    let (stripe, shop, token) = open().await;
    for (next, message) in [
        (
            refusal(400, "invalid_request_error", "amount_too_large", "Amount must be no more than $999,999.99"),
            "The total is more than the payment provider accepts",
        ),
        (
            refusal(400, "invalid_request_error", "amount_too_small", "Amount must be at least $0.50"),
            "The total is less than the payment provider accepts",
        ),
        (refusal(402, "card_error", "card_declined", "Your card was declined."), "Your card was declined."),
    ] {
        stripe.next([next.clone()]);
        let refused = json!({ "message": message, "status": 400 });
        assert_eq!(shop.order_with_key(&token, &message.replace(' ', "-"), LINES).await.expect(400), refused);
        let [asked] = &stripe.asked()[..] else { panic!("{next:?}: asked again, or not at all") };
        let order = shop.order_by_id(&token, key(asked)).await;
        assert_eq!((&order["status"], order.get("refundDueAmount")), (&json!("CANCELLED"), None), "{next:?}");
        shop.post(&format!("/api/orders/{}/pay", key(asked)), &token, json!({})).await.expect(409);
    }
    // A repetition with the key gets the same answer, without a request to Stripe.
    shop.order_with_key(&token, "Your-card-was-declined.", LINES).await.expect(400);
    assert!(stripe.asked().is_empty() && stripe.sessions().is_empty());
}

#[tokio::test]
async fn a_failure_of_stripe_or_its_key_is_a_503_without_details_and_the_order_waits() {
    let (stripe, shop, token) = open().await;
    let oops = || refusal(500, "api_error", "", "Something at our end, see 10.1.2.3");
    let large = || Next::Answer(200, format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20)));
    let elsewhere = StripeApi::start().await;
    for (i, (script, tries, said)) in [
        (
            vec![refusal(401, "invalid_request_error", "", &format!("Invalid API Key provided: {KEY}"))],
            1,
            "check the variable `stripe_secret`",
        ),
        (vec![refusal(403, "invalid_request_error", "", KEY)], 1, "check the variable `stripe_secret`"),
        (vec![oops(), oops()], 2, "status: 500"),
        (vec![refusal(429, "invalid_request_error", "rate_limit", "Slow down"), oops()], 2, "status: 429"),
        (vec![Next::Answer(200, "<html>a proxy</html>".into())], 1, "Stripe's answer cannot be read"),
        (vec![Next::Answer(200, "{}".into())], 1, "Stripe's answer cannot be read"),
        (vec![Next::Redirect(elsewhere.url().to_owned())], 1, "status: 307"),
        (vec![large(), large()], 2, "the answer is too large"),
    ]
    .into_iter()
    .enumerate()
    {
        stripe.next(script.clone());
        let key_of_order = format!("key-{i}");
        let before = shop.host.log_count(said);
        let answer = shop.order_with_key(&token, &key_of_order, LINES).await;
        let order = stored(&answer);
        assert!(!answer.text().contains("10.1.2.3"), "{answer:?}");
        let asked = stripe.asked();
        assert_eq!(asked.len(), tries, "{script:?}");
        assert!(asked.iter().all(|asked| key(asked) == order), "an attempt has another key: {asked:?}");
        assert_eq!(shop.order_by_id(&token, &order).await["status"], "PENDING");
        eventually("the log says why", || async { (shop.host.log_count(said) > before).then_some(()) }).await;
        // When Stripe works again, a repetition with the key or a new request opens the page of the same order.
        let paid = if i % 2 == 0 {
            shop.order_with_key(&token, &key_of_order, LINES).await.expect(201)
        } else {
            shop.post(&format!("/api/orders/{order}/pay"), &token, json!({})).await.expect(201)
        };
        assert_eq!(id(&paid), order);
        assert_eq!(stripe.asked().len(), 1);
    }
    assert!(elsewhere.asked().is_empty(), "the API key was sent to another address");
    assert_eq!(shop.host.log_count("swordfish"), 0);
    assert_eq!(stripe.sessions().len(), 8);
}

#[tokio::test]
async fn a_temporary_failure_is_retried_with_the_same_key() {
    let (stripe, shop, token) = open().await;
    let lock = refusal(409, "invalid_request_error", "lock_timeout", "Another request holds it");
    for first in [refusal(500, "api_error", "", "Oops"), refusal(429, "", "rate_limit", "Slow down"), lock] {
        stripe.next([first.clone()]);
        let order = id(&shop.order(&token, LINES).await);
        let asked = stripe.asked();
        assert_eq!(asked.len(), 2, "{first:?}");
        assert!(asked.iter().all(|a| key(a) == order) && asked[0].form == asked[1].form, "{asked:?}");
    }
    assert_eq!(stripe.sessions().len(), 3);
}

#[tokio::test]
async fn a_stripe_that_never_answers_is_a_503_and_makes_no_second_page() {
    let (stripe, shop, token) = open().await;
    stripe.next([Next::Silence, Next::Silence]);
    // Meanwhile, other requests are not affected.
    let order = crate::harness::undisturbed(&shop.client, &["/api/products/1"], async {
        stored(&shop.order_with_key(&token, "a", LINES).await)
    })
    .await;
    assert_eq!(stripe.asked().len(), 2);
    let completed = shop.order_with_key(&token, "a", LINES).await.expect(201);
    assert_eq!((id(&completed), stripe.sessions()), (order.clone(), vec![order]));
}

#[tokio::test]
async fn an_order_whose_host_was_killed_while_stripe_was_asked_is_completed_by_its_key() {
    let stripe = StripeApi::start().await;
    // The return URLs must not contain the host's port, which changes: an idempotency key stands for fixed parameters.
    let shop = Shop::of(stripe.store().variable("public_url", "https://shop.example")).await;
    let token = shop.customer().await;
    stripe.next([Next::Silence]);
    let asking = tokio::spawn({
        let request = shop.client.open(Method::POST, "/api/orders");
        let body = order_body(LINES).to_string();
        let request = request.bearer_auth(&token).header("content-type", "application/json");
        request.header("idempotency-key", "a").body(body).send()
    });
    eventually("Stripe is asked", || async { (stripe.waiting() > 0).then_some(()) }).await;
    let Shop { app, host, .. } = shop;
    drop(host);
    assert!(asking.await.unwrap().is_err(), "a killed host has answered");

    let shop = Shop::of(app).await;
    let completed = shop.order_with_key(&token, "a", LINES).await.expect(201);
    assert_eq!(stripe.sessions(), [id(&completed)]);
    let list = shop.get("/api/orders", &token).await.expect(200);
    assert_eq!(list["pagination"]["totalRecords"], 1);
}

#[tokio::test]
async fn orders_made_while_stripe_was_out_of_reach_are_completed_later() {
    // No server listens on this port.
    let closed = format!("127.0.0.1:{}", souk_test::ports::free());
    let shop = Shop::of(store_with_key().variable("stripe_api_url", format!("http://{closed}"))).await;
    let token = shop.customer().await;
    let by_key = stored(&shop.order_with_key(&token, "a", LINES).await);
    assert_eq!(stored(&shop.order_with_key(&token, "a", LINES).await), by_key);
    let by_request = stored(&shop.post("/api/orders", &token, order_body(LINES)).await);
    let pay = format!("/api/orders/{by_request}/pay");
    assert_eq!(stored(&shop.post(&pay, &token, json!({})).await), by_request);
    let Shop { app, host, .. } = shop;
    host.stop().await;

    let stripe = StripeApi::start().await;
    let shop = Shop::of(app.variable("stripe_api_url", stripe.url())).await;
    let attempts = (0..20).map(|_| shop.order_with_key(&token, "a", LINES));
    for answer in futures::future::join_all(attempts).await {
        assert_eq!(id(&answer.expect(201)), by_key);
    }
    let attempts = (0..20).map(|_| shop.post(&pay, &token, json!({})));
    let pages: Vec<Value> = futures::future::join_all(attempts).await.iter().map(|answer| answer.expect(201)).collect();
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
    let mut orders = vec![by_key, by_request];
    orders.sort();
    assert_eq!(stripe.sessions(), orders);
    let list = shop.get("/api/orders", &token).await.expect(200);
    assert_eq!(list["pagination"]["totalRecords"], 2);
}

#[tokio::test]
async fn a_failure_that_stripe_keeps_for_a_key_does_not_hold_up_the_order() {
    let (stripe, shop, token) = open().await;
    stripe.next([refusal(500, "api_error", "", "Oops"), Next::KeptFailure]);
    let order = id(&shop.order_with_key(&token, "a", LINES).await.expect(201));
    let asked = stripe.asked();
    let keys: Vec<&str> = asked.iter().map(key).collect();
    assert_eq!(keys, [&order, &order, &format!("{order}-again")]);
    assert!(asked.iter().all(|a| a.form == asked[0].form), "{asked:?}");
    assert_eq!(stripe.sessions(), [format!("{order}-again")]);
    // If Stripe also keeps a failure for the second key, the store does not try a third one.
    stripe.next([Next::KeptFailure, Next::KeptFailure, Next::KeptFailure]);
    let order = stored(&shop.order_with_key(&token, "b", LINES).await);
    assert!(stripe.asked().iter().all(|asked| [order.clone(), format!("{order}-again")].contains(&key(asked).into())));
}

/// The event that the page that this idempotency key made has expired.
fn ended(stripe: &StripeApi, order: &str, key: &str) -> Value {
    let mut event = checkout_session_expired(order);
    event["data"]["object"]["id"] = stripe.session_id(key).into();
    event
}

#[tokio::test]
async fn one_order_has_one_page_at_a_time() {
    let (stripe, shop, token) = open().await;
    let made = shop.order(&token, LINES).await;
    let order = id(&made);
    let pay = format!("/api/orders/{order}/pay");
    let page = async || shop.post(&pay, &token, json!({})).await.expect(201)["paymentSession"].clone();
    assert_eq!(page().await, made["paymentSession"]);
    shop.send_event_and_wait(&checkout_session_expired(&order)).await.expect(200);
    assert_eq!(page().await, made["paymentSession"], "the expiry of another page must not end this one");
    assert_eq!(stripe.asked().len(), 3, "the order and both payment requests asked Stripe");

    // Only when Stripe says that the page has ended is there another one, the same for all concurrent requests.
    shop.send_event_and_wait(&ended(&stripe, &order, &order)).await.expect(200);
    assert_eq!(page().await, made["paymentSession"], "Stripe says that it is open");
    stripe.expire(&order);
    let pages = futures::future::join_all((0..20).map(|_| page())).await;
    assert!(pages.iter().all(|page| *page == pages[0] && *page != made["paymentSession"]), "{pages:?}");
    assert_eq!(stripe.sessions(), [order.clone(), format!("{order}-2")]);
    assert_eq!(shop.order_by_id(&token, &order).await["status"], "PENDING");

    shop.pay(&order, 15050).await;
    let refused = shop.post(&pay, &token, json!({})).await.expect(409);
    assert_eq!(refused["message"], "an order that is PAID cannot be paid");
}

#[tokio::test]
async fn a_payment_whose_event_is_late_is_found_before_there_is_another_page() {
    let (stripe, shop, token) = open().await;
    let order = id(&shop.order(&token, LINES).await);
    let late = charge_succeeded(&order, 15050);
    let charge = &late["data"]["object"];
    stripe.pay(&order, charge);
    shop.send_event_and_wait(&ended(&stripe, &order, &order)).await.expect(200);
    assert_eq!(shop.order_by_id(&token, &order).await["status"], "PENDING");
    let refused = shop.post(&format!("/api/orders/{order}/pay"), &token, json!({})).await.expect(409);
    assert_eq!(refused["message"], "an order that is PAID cannot be paid");
    shop.send_event_and_wait(&late).await.expect(200);
    let paid = shop.order_by_id(&token, &order).await;
    assert_eq!((&paid["status"], &paid["stripeChargeId"]), (&json!("PAID"), &charge["id"]), "{paid}");
    assert_eq!((&paid["receiptUrl"], paid.get("refundDueAmount")), (&charge["receipt_url"], None), "{paid}");
    assert_eq!(stripe.sessions(), [order]);
}

#[tokio::test]
async fn a_cancelled_orders_page_is_ended_and_where_that_fails_the_order_is_cancelled_all_the_same() {
    let (stripe, shop, token) = open().await;
    for (script, status) in [(vec![], "expired"), (vec![refusal(400, "invalid_request_error", "", "No")], "open")] {
        let order = id(&shop.order(&token, LINES).await);
        stripe.asked();
        stripe.next(script);
        let path = format!("/api/orders/{order}");
        shop.patch(&path, &token, json!({ "status": "CANCELLED" })).await.expect(200);
        assert_eq!(stripe.status(&order), status);
        let [asked] = &stripe.asked()[..] else { panic!("more than one request, or none") };
        let ends = format!("/v1/checkout/sessions/{}/expire", stripe.session_id(&order));
        assert_eq!((&asked.method, asked.uri.path()), (&Method::POST, ends.as_str()));
        shop.patch(&path, &token, json!({ "status": "CANCELLED" })).await.expect(200);
        assert_eq!(shop.order_by_id(&token, &order).await["status"], "CANCELLED");
        if status == "open" {
            shop.host.wait_for_log(&format!("order {order} cannot be paid any more; its payment page")).await;
            shop.pay(&order, 15050).await;
            assert_eq!(shop.order_by_id(&token, &order).await["refundDueAmount"], 150.5);
        }
    }
}
