//! The history of orders against a real SQLite and a real PostgreSQL.

use super::*;
use crate::bindings::orders::{Money, Order, Status};
use crate::bindings::payment_events::{Charge, DisputeChange};
use crate::bindings::refunds::NewRefund;
use crate::by::{self, By};
use crate::tests::{both, number, order};
use crate::{dispute, event, refund, status};

fn admin() -> Actor {
    Actor::Admin("7".into())
}

fn charge(id: &str, made: &Order, refunded_cents: u64) -> Charge {
    Charge {
        event_id: id.into(),
        charge_id: "ch_1".into(),
        order_id: made.id.clone(),
        amount: Money { cents: 100, currency: "usd".into() },
        refunded_cents,
        receipt_url: None,
        at: "2999-02-27T15:50:27.545Z".into(),
    }
}

/// Author, kind, old and new value of each change.
fn changes(db: &Database, id: &str) -> Vec<String> {
    let line = |change: Change| {
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        assert_eq!(change.at.len(), 24);
        format!("{:?} {} {} {}", change.what, text(change.by), text(change.from), text(change.to))
    };
    list(db, &admin(), id).unwrap().into_iter().map(line).collect()
}

#[test]
fn each_change_of_an_order_says_who_made_it() {
    for db in both() {
        let made = by::during(By::User("9".into()), || order(&db, Some("9"), 100));
        event::charge(&db, &charge("evt_1", &made, 0)).unwrap();
        by::during(By::from(&admin()), || status::change(&db, &admin(), &made.id, Status::Delivered)).unwrap();
        event::charge(&db, &charge("evt_2", &made, 25)).unwrap();
        let disputed = DisputeChange {
            event_id: "evt_3".into(),
            dispute_id: "dp_1".into(),
            charge_id: "ch_1".into(),
            cents: 75,
            state: crate::bindings::orders::DisputeState::Open,
            reason: "fraudulent".into(),
            at: "2999-02-28T15:50:27.545Z".into(),
        };
        dispute::changed(&db, &disputed).unwrap();
        // A repeated event changes nothing.
        event::charge(&db, &charge("evt_2", &made, 25)).unwrap();
        assert_eq!(
            changes(&db, &made.id),
            [
                "What::Status 9 - PENDING",
                "What::Status evt_1 PENDING PAID",
                "What::Charge evt_1 - ch_1",
                "What::Status 7 PAID DELIVERED",
                "What::RefundedCents evt_2 0 25",
                "What::Dispute evt_3 - OPEN",
            ]
        );
    }
}

#[test]
fn a_refund_is_in_the_history_of_its_order() {
    for db in both() {
        let made = order(&db, Some("9"), 100);
        event::charge(&db, &charge("evt_1", &made, 0)).unwrap();
        let all = NewRefund { cents: None, idempotency_key: None };
        let intended =
            db.transaction(|t| by::during(By::from(&admin()), || refund::store_request(t, &admin(), &made.id, &all)));
        let refund_id = intended.unwrap().into_iter().next().unwrap();
        let done = crate::bindings::payment_events::RefundChange {
            event_id: "evt_2".into(),
            refund_id: refund_id.clone(),
            order_id: made.id.clone(),
            outcome: crate::bindings::payment_events::RefundOutcome::Succeeded,
            failure: None,
        };
        refund::changed(&db, &done).unwrap();
        let of_refunds = changes(&db, &made.id).split_off(3);
        assert_eq!(of_refunds, ["What::Refund 7 - REQUESTED", "What::Refund evt_2 REQUESTED SUCCEEDED"]);
        let subjects = list(&db, &admin(), &made.id).unwrap().split_off(3);
        assert!(subjects.iter().all(|change| change.subject.as_ref() == Some(&refund_id)));
    }
}

#[test]
fn a_rolled_back_change_leaves_no_history_and_customers_see_none() {
    for db in both() {
        let made = order(&db, Some("9"), 100);
        let undone: Result<(), Error> = db.transaction(|t| {
            status::change(t, &admin(), &made.id, Status::Cancelled)?;
            Err(Error::NotFound)
        });
        undone.unwrap_err();
        assert_eq!(number(&db, "SELECT count(*) FROM order_history"), 1);
        let customer = |number: &str| Actor::Customer(number.into());
        assert!(matches!(list(&db, &customer("9"), &made.id), Err(Error::Forbidden(_))));
        assert!(matches!(list(&db, &customer("8"), &made.id), Err(Error::NotFound)));
    }
}
