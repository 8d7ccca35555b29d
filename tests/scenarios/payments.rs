//! The payment provider's events: each event counts once, in whatever order and however often it comes, and none
//! changes an order that it does not fit.

use crate::harness::store::{STRIPE_SECRET, Shop, cents};
use crate::harness::stripe::{self, charge_refunded, charge_succeeded, checkout_session_expired};
use crate::harness::{Random, eventually};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The storm: the number of orders, the deliveries of each order's event, and the concurrent orders and deliveries.
const STORM: (usize, usize, usize, usize) = (200, 50, 24, 64);

#[tokio::test]
async fn a_storm_of_10_000_deliveries_pays_200_orders_once_each() {
    let (orders, copies, clients, under_way) = STORM;
    let shop = Shop::start().await;
    let (token, admin) = (shop.customer().await, shop.admin().await);
    let made: Vec<Value> = stream::iter(0..orders)
        .map(|i| {
            let (shop, token) = (&shop, &token);
            async move {
                let lines = [(1 + i as u64 % 40, 1 + i as u32 % 7), (41 + i as u64 % 7, 1 + i as u32 % 3)];
                shop.order(token, &lines).await["order"].clone()
            }
        })
        .buffer_unordered(clients)
        .collect()
        .await;
    let events: BTreeMap<String, Value> = made
        .iter()
        .map(|order| {
            let id = order["id"].as_str().unwrap().to_owned();
            let event = charge_succeeded(&id, cents(&order["totalAmount"]));
            (id, event)
        })
        .collect();
    assert_eq!(events.len(), orders);

    let mut deliveries: Vec<&Value> = events.values().flat_map(|event| std::iter::repeat_n(event, copies)).collect();
    Random::new(20_261_123).shuffle(&mut deliveries);
    let refusals: usize = stream::iter(deliveries)
        .map(|event| {
            let shop = &shop;
            async move {
                // After a 503 the event is sent again, as Stripe does.
                let mut refused = 0;
                loop {
                    match shop.send_event(event).await.status {
                        200 => return refused,
                        503 if refused < 100 => refused += 1,
                        status => panic!("a delivery was answered {status} after {refused} refusals"),
                    }
                }
            }
        })
        .buffer_unordered(under_way)
        .fold(0, async |all, refused| all + refused)
        .await;
    println!("{refusals} of {} deliveries had to be repeated", orders * copies);
    shop.wait_for_events().await;

    let captured: u64 = events.values().map(|e| e["data"]["object"]["amount_captured"].as_u64().unwrap()).sum();
    let paid = shop.get("/api/orders/PAID?limit=1000", &admin).await.expect(200);
    let paid = paid["data"].as_array().unwrap();
    assert_eq!(paid.len(), orders);
    assert_eq!(paid.iter().map(|order| cents(&order["totalAmount"])).sum::<u64>(), captured);
    assert_eq!(shop.get("/api/orders", &admin).await.expect(200)["pagination"]["totalRecords"], orders);
    for (id, event) in &events {
        let (order, charge) = (shop.order_by_id(&token, id).await, &event["data"]["object"]);
        assert_eq!((&order["stripeChargeId"], &order["receiptUrl"]), (&charge["id"], &charge["receipt_url"]));
        assert_eq!((order.get("refundDueAmount"), order.get("refundedAmount")), (None, None), "{order}");
    }
    assert_eq!(shop.events(&[]).await, Vec::<Value>::new());
    assert_eq!(shop.host.log_count("flagged for refund"), 0);
}

#[tokio::test]
async fn an_event_that_does_not_fit_changes_nothing_and_is_kept_for_an_operator() {
    let shop = Shop::start().await;
    let token = shop.customer().await;
    let (paid, total) = shop.small_order(&token).await;
    let charged = shop.pay(&paid, total).await["data"]["object"]["id"].clone();
    let (id, _) = shop.small_order(&token).await;
    let before = [shop.order_by_id(&token, &id).await, shop.order_by_id(&token, &paid).await];
    let none = "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";
    let with = |mut event: Value, changes: Value| {
        for (name, value) in changes.as_object().unwrap() {
            event["data"]["object"][name] = value.clone();
        }
        event
    };
    let fitting = || charge_succeeded(&id, total);
    let without_time = |mut event: Value| {
        event.as_object_mut().unwrap().remove("created");
        event
    };
    for (event, reason) in [
        (charge_succeeded(&id, total - 1), "costs 15050 usd, charge"),
        (charge_succeeded(&id, total + 1), "is over 15051 "),
        (charge_succeeded(&id, 0), "is over 0 "),
        (with(fitting(), json!({ "amount_captured": 1 })), "is over 1 "),
        (with(fitting(), json!({ "currency": "eur" })), "is over 15050 \"eur\""),
        (with(fitting(), json!({ "currency": "" })), "is over 15050 \"\""),
        (charge_succeeded(none, total), "there is no order"),
        (charge_succeeded("nonsense", total), "there is no order \"nonsense\""),
        (charge_succeeded(&id.to_uppercase(), total), "there is no order"),
        (charge_succeeded(&"x".repeat(3000), total), "the order's id must have 1 to 255 bytes"),
        (with(fitting(), json!({ "id": charged })), "was for another order before"),
        (with(fitting(), json!({ "id": "" })), "the charge's id must have 1 to 255 bytes"),
        (with(fitting(), json!({ "receipt_url": "u".repeat(5000) })), "the receipt's URL must have"),
        (charge_refunded(&fitting(), total + 1), "was refunded more than it was over"),
        (charge_refunded(&charge_succeeded(&id, 5), 5), "is over 5 "),
        (with(fitting(), json!({ "amount_captured": -5 })), "cannot be read: data.object"),
        (with(fitting(), json!({ "amount_captured": 150.5 })), "cannot be read: data.object"),
        (with(charge_refunded(&fitting(), 1), json!({ "amount_refunded": null })), "cannot be read: data.object"),
        (without_time(fitting()), "cannot be read: it has no time"),
        (checkout_session_expired(none), "there is no order"),
    ] {
        for _ in 0..2 {
            assert_eq!(shop.send_event_and_wait(&event).await.status, 200, "{event}");
        }
        let name = event["id"].as_str().unwrap();
        // The event is refused each time, because the refusal is not recorded.
        if reason.starts_with("cannot be read") {
            eventually(&format!("the log has {name} twice"), || async {
                let mut lines = shop.host.log();
                lines.retain(|line| line.contains("PAYMENT EVENT NOT APPLIED") && line.contains(name));
                (lines.len() == 2 && lines[0].contains(reason)).then_some(())
            })
            .await;
        } else {
            let dead = shop.events(&["--dead"]).await;
            let reasons: Vec<&str> = dead.iter().map(|message| message["reason"].as_str().unwrap()).collect();
            assert!(reasons.len() == 2 && reasons.iter().all(|text| text.contains(reason)), "{reason}: {reasons:?}");
            let dropped = shop.app.souk("events", &["drop", "--all"]).await;
            assert!(dropped.status.success(), "{dropped:?}");
        }
        let after = [shop.order_by_id(&token, &id).await, shop.order_by_id(&token, &paid).await];
        assert_eq!(after, before, "{event}");
    }
    shop.pay(&id, total).await;
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PAID");
}

#[tokio::test]
async fn events_that_do_not_concern_an_order_are_acknowledged_quietly() {
    let shop = Shop::start().await;
    let token = shop.customer().await;
    let (id, total) = shop.small_order(&token).await;
    let with = |name: &str, value: Value| {
        let mut event = charge_succeeded(&id, total);
        event["data"]["object"][name] = value;
        event
    };
    for event in [
        with("metadata", json!({})),
        with("metadata", Value::Null),
        with("captured", json!(false)),
        with("status", json!("pending")),
        stripe::event("customer.created", json!({ "id": "cus_1", "metadata": { "orderId": id } })),
    ] {
        assert_eq!(shop.send_event_and_wait(&event).await.status, 200);
        let line = shop.host.wait_for_log(event["id"].as_str().unwrap()).await;
        assert!(line.contains("acknowledged and ignored"), "{line}");
    }
    assert_eq!(shop.events(&[]).await, Vec::<Value>::new());
    assert_eq!(shop.host.log_count("NOT APPLIED"), 0);
    assert_eq!(shop.order_by_id(&token, &id).await["status"], "PENDING");
}

#[tokio::test]
async fn two_charges_for_one_order_leave_one_to_refund_whichever_comes_first() {
    let shop = Shop::start().await;
    let token = shop.customer().await;
    for first in [0, 1] {
        let (id, total) = shop.small_order(&token).await;
        let mut charges = [charge_succeeded(&id, total), charge_succeeded(&id, total)];
        charges[0]["created"] = 1_795_400_000.into();
        charges[1]["created"] = 1_795_400_060.into();
        shop.send_event_and_wait(&charges[first]).await.expect(200);
        shop.send_event_and_wait(&charges[1 - first]).await.expect(200);
        let order = shop.order_by_id(&token, &id).await;
        assert_eq!(order["stripeChargeId"], charges[0]["data"]["object"]["id"], "the earlier charge pays");
        assert_eq!((&order["status"], cents(&order["refundDueAmount"])), (&json!("PAID"), total));
        let line = shop.host.wait_for_log(&format!("order {id} is PAID: since charge")).await;
        assert!(line.contains("15050 cents flagged for refund"), "{line}");
        // A refund of either charge clears the amount due.
        let back = [0, 1][first];
        shop.send_event_and_wait(&charge_refunded(&charges[back], total)).await.expect(200);
        let order = shop.order_by_id(&token, &id).await;
        assert_eq!((&order["status"], order.get("refundDueAmount")), (&json!("PAID"), None), "{order}");
        assert_eq!(
            order["stripeChargeId"],
            charges[1 - back]["data"]["object"]["id"],
            "the charge that was not refunded pays"
        );
    }
}

#[tokio::test]
async fn a_cancellation_and_a_payment_at_once_end_in_one_of_two_ways() {
    let shop = Shop::start().await;
    let token = shop.customer().await;
    let mut ends = [0, 0];
    for i in 0..20 {
        let (id, total) = shop.small_order(&token).await;
        let event = charge_succeeded(&id, total);
        let path = format!("/api/orders/{id}");
        let cancel = shop.patch(&path, &token, json!({ "status": "CANCELLED" }));
        let (cancelled, paid) = if i % 2 == 0 {
            futures::join!(cancel, stripe::deliver(&shop.client, STRIPE_SECRET, &event))
        } else {
            let (paid, cancelled) = futures::join!(stripe::deliver(&shop.client, STRIPE_SECRET, &event), cancel);
            (cancelled, paid)
        };
        assert_eq!(paid.status, 200, "{paid:?}");
        shop.wait_for_events().await;
        let order = shop.order_by_id(&token, &id).await;
        assert_eq!(order["stripeChargeId"], event["data"]["object"]["id"], "the payment was lost: {order}");
        match order["status"].as_str() {
            Some("PAID") => {
                assert_eq!(cancelled.expect(409)["message"], "an order that is PAID cannot become CANCELLED");
                assert_eq!(order.get("refundDueAmount"), None, "{order}");
                ends[0] += 1;
            }
            Some("CANCELLED") => {
                assert_eq!(cancelled.status, 200, "{cancelled:?}");
                assert_eq!(cents(&order["refundDueAmount"]), total, "{order}");
                ends[1] += 1;
            }
            _ => panic!("neither paid nor cancelled: {order}"),
        }
    }
    println!("{} paid, {} cancelled", ends[0], ends[1]);
}

#[tokio::test]
async fn a_key_makes_one_order_whoever_sends_it_however_often() {
    let shop = Shop::start().await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);
    let lines = [(1, 2), (2, 1)];
    let first = shop.order_with_key(&ann, "key-1", &lines).await.expect(201);
    for _ in 0..3 {
        assert_eq!(shop.order_with_key(&ann, "key-1", &lines).await.expect(201), first);
    }
    for other in [&[(1, 2)][..], &[(2, 1), (1, 2)], &[(1, 2), (2, 2)], &[(1, 2), (2, 1), (2, 1)]] {
        let refused = shop.order_with_key(&ann, "key-1", other).await.expect(422);
        assert_eq!(refused, json!({ "message": "Idempotency-Key was used for another order", "status": 422 }));
    }
    // The order is paid now, but the key still gets the first answer.
    shop.pay(first["order"]["id"].as_str().unwrap(), cents(&first["order"]["totalAmount"])).await;
    assert_eq!(shop.order_with_key(&ann, "key-1", &lines).await.expect(201), first);
    let of_bob = shop.order_with_key(&bob, "key-1", &[(3, 1)]).await.expect(201);
    assert_ne!(of_bob["order"]["id"], first["order"]["id"]);
    for bad in ["", "a b", "\u{e9}", &"k".repeat(256)] {
        let refused = shop.order_with_key(&ann, bad, &lines).await.expect(400);
        assert_eq!(refused["message"], "Idempotency-Key must be 1 to 255 visible ASCII characters", "{bad:?}");
    }

    let attempts = (0..20).map(|_| shop.order_with_key(&ann, "key-2", &lines));
    let answers = futures::future::join_all(attempts).await;
    let second = answers[0].expect(201);
    for answer in &answers {
        assert_eq!(answer.expect(201), second);
    }
    let listed = |list: Value| list["pagination"]["totalRecords"].clone();
    assert_eq!(listed(shop.get("/api/orders", &ann).await.expect(200)), 2);
    assert_eq!(listed(shop.get("/api/orders", &bob).await.expect(200)), 1);
    // Without a key, each request makes a new order.
    shop.order(&ann, &lines).await;
    shop.order(&ann, &lines).await;
    assert_eq!(listed(shop.get("/api/orders", &ann).await.expect(200)), 4);
}
