//! The payment provider sends its events in any order, and twice: every order ends in the same state. Even the answer
//! with the payment page may come after the event that the page was paid.

use crate::harness::database::Database;
use crate::harness::store::{Shop, try_order};
use crate::harness::stripe::{charge_refunded, charge_succeeded, checkout_session_expired};
use crate::harness::stripe_api::{Next, StripeApi};
use crate::harness::{eventually, queue};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// All permutations of `0..n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    shorter.iter().flat_map(|p| (0..n).map(|at| [&p[..at], &[n - 1], &p[at..]].concat())).collect()
}

#[tokio::test]
async fn events_end_in_the_same_state_in_whichever_order_they_come_on_sqlite() {
    end_in_the_same_state(Database::Sqlite).await;
}

#[tokio::test]
async fn events_end_in_the_same_state_in_whichever_order_they_come_on_postgres() {
    end_in_the_same_state(Database::Postgres).await;
}

async fn end_in_the_same_state(database: Database) {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(database.configure(stripe.store())).await;
    let token = shop.customer().await;
    let mut number = 0;
    for (refunded, status) in [(15050, "REFUNDED"), (50, "PAID")] {
        let orders = permutations(4);
        assert_eq!(orders.len(), 24);
        for order in orders {
            number += 1;
            let (mut end, expected) = one_order(&stripe, &shop, &token, number, &order, refunded).await;
            // By this clock the order was made after the event; but it cannot be paid before it was made.
            let paid_at = end["createdAt"].as_str().unwrap().max("2026-11-23T02:13:20.000Z").to_owned();
            for changing in ["id", "createdAt", "updatedAt"] {
                end.as_object_mut().unwrap().remove(changing).expect(changing);
            }
            let mut whole = json!({
                "totalAmount": 150.5,
                "totalItems": 2,
                "status": status,
                "paid": true,
                "paidAt": paid_at,
                "refundedAmount": if refunded == 50 { json!(0.5) } else { json!(150.5) },
            });
            whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
            assert_eq!(end, whole, "{database:?}, in the order {order:?}");
        }
    }
    assert_eq!(queue::dead(&shop.app).await + shop.host.log_count("flagged for refund"), 0);
    assert_eq!(stripe.sessions().len(), 48, "one payment page for each order");
}

/// Makes an order, and sends its events in this sequence, each one twice; 0 stands for the provider's answer with the
/// payment page. Returns the order's final state, and its expected values without the amounts.
async fn one_order(
    stripe: &StripeApi,
    shop: &Shop,
    token: &str,
    number: usize,
    order: &[usize],
    refunded: u64,
) -> (Value, Value) {
    let answer = Arc::new(Notify::new());
    // If the order is paid before its page is known, the store expires the page, and the script has an answer for that.
    stripe.next([Next::Held(Arc::clone(&answer))]);
    stripe.asked();
    let (client, key, bearer) = (shop.client.clone(), format!("key-{number}"), token.to_owned());
    let mut creating = Some(tokio::spawn(async move { try_order(&client, &bearer, &key, &[(1, 2)]).await.unwrap() }));
    eventually("the payment page is requested", || async { (stripe.waiting() > 0).then_some(()) }).await;
    let asked = stripe.asked();
    let id = asked[0].form.iter().find(|(name, _)| name == "metadata[orderId]").unwrap().1.clone();

    let mut succeeded = charge_succeeded(&id, 15050);
    succeeded["created"] = 1_795_400_000.into();
    let mut given_back = charge_refunded(&succeeded, refunded);
    given_back["created"] = 1_795_400_060.into();
    let mut expired = checkout_session_expired(&id);
    expired["data"]["object"]["id"] = stripe.session_id(&id).into();
    let charge = &succeeded["data"]["object"];
    let expected = json!({
        "stripeChargeId": charge["id"],
        "receiptUrl": charge["receipt_url"],
        "OrderItem": shop.order_by_id(token, &id).await["OrderItem"],
    });

    let mut paid = false;
    for step in order {
        if let Some(event) = [None, Some(&succeeded), Some(&given_back), Some(&expired)][*step] {
            for _ in 0..2 {
                shop.send_event_and_wait(event).await.expect(200);
            }
            shop.wait_for_events().await;
            paid |= *step != 3;
            continue;
        }
        answer.notify_one();
        let made = creating.take().expect("made once").await.unwrap();
        // A customer who has paid meanwhile gets an error, not a second page to pay on.
        if paid {
            let refused = made.expect(409)["message"].as_str().unwrap().to_owned();
            assert!(refused.ends_with("cannot be paid"), "{refused}");
        } else {
            assert_eq!(made.expect(201)["order"]["id"], *id);
        }
    }
    // Whatever the first answer was, a repetition with the key returns the order and its page.
    let again = shop.order_with_key(token, &format!("key-{number}"), &[(1, 2)]).await.expect(201);
    let page = format!("https://checkout.stripe.com/c/pay/{}", stripe.session_id(&id));
    assert_eq!((&again["order"]["id"], &again["paymentSession"]["url"]), (&json!(id), &json!(page)));
    (shop.order_by_id(token, &id).await, expected)
}
