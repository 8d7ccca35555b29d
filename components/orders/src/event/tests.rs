//! Events against a real SQLite and a real PostgreSQL: the effect of each, in any sequence.

use crate::bindings::orders::{Actor, Money, Order, Status};
use crate::bindings::payment_events::{Charge, DeliveryError, ExpiredSession};
use crate::tests::{both, number, on_postgres, order, sqlite};
use crate::{event, status, store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use souk_database::{Database, Statement, statement};

const TOTAL: u64 = 7525;

/// An event: `charge` was captured at `second`, and `refunded` cents of it were refunded.
pub(super) fn charge(event: &str, order: &Order, charge: &str, refunded: u64, second: u8) -> Charge {
    Charge {
        event_id: event.into(),
        charge_id: charge.into(),
        order_id: order.id.clone(),
        amount: Money { cents: TOTAL, currency: "usd".into() },
        refunded_cents: refunded,
        receipt_url: Some(format!("https://pay.example/receipts/{charge}")),
        at: format!("2099-02-27T15:50:{second:02}.000Z"),
    }
}

/// Status, charge, refunded cents and cents due for refund of an order.
fn state_of(db: &Database, order: &Order) -> (Status, Option<String>, u64, u64) {
    let order = store::find(db, &order.id, None).unwrap();
    (order.status, order.charge_id, order.refunded_cents, order.refund_due_cents)
}

fn by(charge: &str) -> Option<String> {
    Some(charge.to_owned())
}

fn rejected(outcome: Result<(), DeliveryError>, why: &str) {
    assert!(matches!(&outcome, Err(DeliveryError::Reject(text)) if text.contains(why)), "{outcome:?}");
}

#[test]
fn a_payment_makes_a_pending_order_paid_and_its_repeat_changes_nothing() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        event::charge(&db, &charge("e1", &made, "ch_1", 0, 1)).unwrap();
        let paid = store::find(&db, &made.id, None).unwrap();
        assert_eq!((paid.status, paid.charge_id.as_deref()), (Status::Paid, Some("ch_1")));
        assert_eq!(paid.paid_at.as_deref(), Some("2099-02-27T15:50:01.000Z"));
        assert_eq!(paid.receipt_url.as_deref(), Some("https://pay.example/receipts/ch_1"));
        event::charge(&db, &charge("e1", &made, "ch_other", 0, 1)).unwrap();
        event::charge(&db, &charge("e2", &made, "ch_1", 0, 1)).unwrap();
        assert_eq!(format!("{:?}", store::find(&db, &made.id, None).unwrap()), format!("{paid:?}"));
        assert_eq!(number(&db, "SELECT count(*) FROM charges"), 1);
    }
}

#[test]
fn an_order_is_not_paid_before_it_was_made_though_the_providers_clock_is_behind() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        let early = Charge { at: "2024-02-27T15:50:01.000Z".into(), ..charge("e1", &made, "ch_1", 0, 1) };
        event::charge(&db, &early).unwrap();
        assert_eq!(store::find(&db, &made.id, None).unwrap().paid_at, Some(made.created_at));
    }
}

#[test]
fn a_payment_without_a_receipt_also_pays() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        event::charge(&db, &Charge { receipt_url: None, ..charge("e1", &made, "ch_1", 0, 1) }).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Paid, by("ch_1"), 0, 0));
    }
}

#[test]
fn a_payment_for_a_cancelled_order_is_kept_and_due_for_refund() {
    for db in both() {
        let made = order(&db, Some("9"), TOTAL);
        status::change(&db, &Actor::Customer("9".into()), &made.id, Status::Cancelled).unwrap();
        event::charge(&db, &charge("e1", &made, "ch_1", 0, 1)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Cancelled, by("ch_1"), 0, TOTAL));
        event::charge(&db, &charge("e2", &made, "ch_1", TOTAL, 5)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Cancelled, by("ch_1"), TOTAL, 0));
    }
}

#[test]
fn a_paid_order_cannot_be_cancelled_and_a_delivered_one_stays_delivered() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        event::charge(&db, &charge("e1", &made, "ch_1", 0, 1)).unwrap();
        assert!(status::change(&db, &Actor::Anyone, &made.id, Status::Cancelled).is_err());
        status::change(&db, &Actor::Admin("1".into()), &made.id, Status::Delivered).unwrap();
        event::charge(&db, &charge("e2", &made, "ch_1", TOTAL, 5)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Delivered, by("ch_1"), TOTAL, 0));
        let unpaid = order(&db, None, TOTAL);
        status::change(&db, &Actor::Anyone, &unpaid.id, Status::Delivered).unwrap();
        event::charge(&db, &charge("e3", &unpaid, "ch_2", 0, 1)).unwrap();
        assert_eq!(state_of(&db, &unpaid), (Status::Delivered, by("ch_2"), 0, 0));
    }
}

#[test]
fn a_second_charge_is_due_for_refund_until_it_is_refunded() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        event::charge(&db, &charge("e1", &made, "ch_1", 0, 1)).unwrap();
        event::charge(&db, &charge("e2", &made, "ch_2", 0, 2)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Paid, by("ch_1"), 0, TOTAL));
        event::charge(&db, &charge("e3", &made, "ch_2", 25, 3)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Paid, by("ch_1"), 0, TOTAL - 25));
        event::charge(&db, &charge("e4", &made, "ch_2", TOTAL, 4)).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Paid, by("ch_1"), 0, 0));
    }
}

#[test]
fn an_event_that_does_not_fit_its_order_leaves_nothing_behind() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        let good = || charge("e1", &made, "ch_1", 0, 1);
        let money = |cents, currency: &str| Money { cents, currency: currency.into() };
        for (bad, why) in [
            (Charge { amount: money(TOTAL - 1, "usd"), ..good() }, "costs 7525 usd"),
            (Charge { amount: money(u64::MAX, "usd"), ..good() }, "costs 7525 usd"),
            (Charge { amount: money(TOTAL, "eur"), ..good() }, "7525 \"eur\""),
            (Charge { order_id: "00000000-0000-4000-8000-000000000000".into(), ..good() }, "no order"),
            (Charge { refunded_cents: TOTAL + 1, ..good() }, "more than"),
            (Charge { at: "yesterday".into(), ..good() }, "time"),
            (Charge { at: "2024-02-27T15:50:27Z".into(), ..good() }, "time"),
            (Charge { charge_id: String::new(), ..good() }, "charge's id"),
            (Charge { at: "2024-02-30T15:50:27.545Z".into(), ..good() }, "time"),
            (Charge { event_id: "e".repeat(256), ..good() }, "event's id"),
            (Charge { event_id: "e\0".into(), ..good() }, "U+0000"),
            (Charge { order_id: "\0".into(), ..good() }, "U+0000"),
            (Charge { receipt_url: Some("u".repeat(5000)), ..good() }, "receipt"),
        ] {
            rejected(event::charge(&db, &bad), why);
            rejected(event::charge(&db, &bad), why);
        }
        assert_eq!(state_of(&db, &made), (Status::Pending, None, 0, 0));
        assert_eq!(number(&db, "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM charges)"), 0);
        event::charge(&db, &good()).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Paid, by("ch_1"), 0, 0));
        let other = order(&db, None, TOTAL);
        rejected(event::charge(&db, &charge("e2", &other, "ch_1", 0, 1)), "another order");
        assert_eq!(state_of(&db, &other), (Status::Pending, None, 0, 0));
    }
}

#[test]
fn an_unavailable_database_asks_for_another_delivery() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        db.query("ALTER TABLE charges RENAME TO gone", &[]).unwrap();
        let failed = event::charge(&db, &charge("e1", &made, "ch_1", 0, 1));
        assert!(matches!(failed, Err(DeliveryError::Retry(_))), "{failed:?}");
        assert_eq!(number(&db, "SELECT count(*) FROM events"), 0);
    }
}

#[test]
fn a_session_that_expired_leaves_the_order_as_it_is() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        let expired = |event: &str, order_id: &str| {
            let event = ExpiredSession { event_id: event.into(), session_id: "cs_1".into(), order_id: order_id.into() };
            event::session_expired(&db, &event)
        };
        expired("e1", &made.id).unwrap();
        assert_eq!(state_of(&db, &made), (Status::Pending, None, 0, 0));
        rejected(expired("e2", "00000000-0000-4000-8000-000000000000"), "no order");
    }
}

#[test]
fn the_inbox_forgets_old_events_some_at_a_time() {
    for db in both() {
        let made = order(&db, None, TOTAL);
        const NOTE: Statement = statement!("INSERT INTO events VALUES (?1, '2024-02-27T15:50:27.545Z')");
        for n in 0..25 {
            db.query(NOTE, &[format!("old {n}").into()]).unwrap();
        }
        let events = || number(&db, "SELECT count(*) FROM events");
        event::charge(&db, &charge("e1", &made, "ch_1", 0, 1)).unwrap();
        assert_eq!(events(), 16);
        event::charge(&db, &charge("e2", &made, "ch_1", 0, 1)).unwrap();
        event::charge(&db, &charge("e3", &made, "ch_1", 0, 1)).unwrap();
        assert_eq!(events(), 3);
    }
}

/// A few charges with refunds, and a page that expired; some events twice.
fn story() -> impl Strategy<Value = Vec<(u8, u64, u8, bool)>> {
    // Charge, refunded, second, whether it is delivered twice.
    prop::collection::vec((0..3u8, prop_oneof![Just(0), 1..TOTAL, Just(TOTAL)], 1..6u8, any::<bool>()), 1..6)
}

/// Whatever the sequence of these events and the status that was set by hand before, the final state is the same.
fn end_in_the_same_state(
    db: &Database,
    told: &[(u8, u64, u8, bool)],
    shuffled: &[usize],
    by_hand: Option<Status>,
) -> Result<(), TestCaseError> {
    let end = |events: &[usize]| {
        let made = order(db, None, TOTAL);
        if let Some(status) = by_hand {
            status::change(db, &Actor::Anyone, &made.id, status).unwrap();
        }
        // All cases share the database; the order's id makes the other ids unique.
        let own = |name: String| format!("{name} of {}", made.id);
        for n in events {
            let event_id = own(format!("e{n}"));
            match told.get(*n) {
                Some((id, refunded, second, _)) => {
                    let event = charge(&event_id, &made, &own(format!("ch_{id}")), *refunded, *second);
                    event::charge(db, &event).unwrap();
                }
                None => {
                    let event = ExpiredSession { event_id, session_id: "cs_1".into(), order_id: made.id.clone() };
                    event::session_expired(db, &event).unwrap();
                }
            }
        }
        let order = store::find(db, &made.id, None).unwrap();
        let nameless = |text: Option<String>| text.map(|text| text.replace(&made.id, ""));
        let (status, paid_by, refunded, due) = state_of(db, &made);
        (status, nameless(paid_by), refunded, due, order.paid_at, nameless(order.receipt_url))
    };
    let in_order: Vec<_> = (0..=told.len()).collect();
    prop_assert_eq!(end(&in_order), end(shuffled));
    Ok(())
}

#[test]
fn events_in_any_order_end_in_the_same_state() {
    for (db, cases) in [(sqlite(), 200), (on_postgres().0, 50)] {
        let with_orders = story().prop_flat_map(|story| {
            let mut events: Vec<_> = (0..story.len()).collect();
            events.extend(story.iter().enumerate().filter(|(_, event)| event.3).map(|(n, _)| n));
            events.push(story.len());
            (Just(story), Just(events).prop_shuffle())
        });
        let by_hand = prop_oneof![Just(None), Just(Some(Status::Cancelled)), Just(Some(Status::Delivered))];
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&(with_orders, by_hand), |((told, shuffled), by_hand)| {
                end_in_the_same_state(&db, &told, &shuffled, by_hand)
            })
            .unwrap();
    }
}
