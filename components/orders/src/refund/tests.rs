//! Refunds and disputes against a real SQLite and a real PostgreSQL, without a provider.

use super::settle::{for_about, unsettled};
use super::*;
use crate::bindings::checkout::Payment;
use crate::bindings::orders::{DisputeState, Status};
use crate::bindings::payment_events::{Charge, DisputeChange};
use crate::tests::{both, order};
use crate::{dispute, page};
use std::time::Duration;

fn pay(db: &Database, order: &Order, charge: &str, refunded_cents: u64) {
    let event = Charge {
        event_id: format!("e-{charge}-{refunded_cents}"),
        charge_id: charge.into(),
        order_id: order.id.clone(),
        amount: order.total.clone(),
        refunded_cents,
        receipt_url: None,
        at: "2024-02-27T15:50:01.000Z".into(),
    };
    event::charge(db, &event).unwrap();
}

/// Stores the refunds of a call, as `give_back` does before it asks the provider; returns their ids.
fn store_refunds(db: &Database, order: &Order, cents: Option<u64>, key: Option<&str>) -> Result<Vec<String>, Error> {
    let new = NewRefund { cents, idempotency_key: key.map(str::to_owned) };
    let admin = Actor::Admin("1".into());
    db.transaction(|transaction| store_request(transaction, &admin, &order.id, &new))
        .map(|ids| ids.into_iter().collect())
}

fn refund_event(
    db: &Database,
    event: &str,
    order: &Order,
    refund: &str,
    outcome: RefundOutcome,
) -> Result<(), DeliveryError> {
    let failure = (outcome == RefundOutcome::Failed).then(|| "expired_or_canceled_card".to_owned());
    let change =
        RefundChange { event_id: event.into(), refund_id: refund.into(), order_id: order.id.clone(), outcome, failure };
    changed(db, &change)
}

fn dispute_event(db: &Database, event: &str, state: DisputeState, second: u8) {
    let change = DisputeChange {
        event_id: event.into(),
        dispute_id: "dp_1".into(),
        charge_id: "ch_1".into(),
        cents: 1000,
        state,
        reason: "fraudulent".into(),
        at: format!("2024-03-01T00:00:{second:02}.000Z"),
    };
    dispute::changed(db, &change).unwrap();
}

fn states(db: &Database, order: &Order) -> Vec<RefundState> {
    list(db, &Actor::Anyone, &order.id).unwrap().into_iter().map(|refund| refund.state).collect()
}

#[test]
fn a_second_click_is_the_same_refund_and_all_refunds_together_never_exceed_the_payment() {
    for db in both() {
        let made = order(&db, Some("9"), 1000);
        assert!(matches!(store_refunds(&db, &made, None, None), Err(Error::Conflict(_))), "nothing was paid");
        pay(&db, &made, "ch_1", 0);
        let part = store_refunds(&db, &made, Some(300), Some("k")).unwrap();
        assert_eq!(part.len(), 1);
        assert_eq!(store_refunds(&db, &made, Some(300), Some("k")).unwrap(), part);
        assert!(matches!(store_refunds(&db, &made, Some(301), Some("k")), Err(Error::KeyReused)));
        let most = store_refunds(&db, &made, Some(701), Some("k2"));
        assert!(matches!(&most, Err(Error::Conflict(text)) if text.contains("7.00 USD")), "{most:?}");
        let rest = store_refunds(&db, &made, None, None).unwrap();
        assert_eq!(store_refunds(&db, &made, None, None).unwrap(), rest, "nobody knows whether it was requested");
        refund_event(&db, "e1", &made, &rest[0], RefundOutcome::Pending).unwrap();
        assert!(matches!(store_refunds(&db, &made, None, None), Err(Error::Conflict(_))));
    }
}

#[test]
fn events_of_a_refund_in_any_order_give_the_same_state() {
    use RefundOutcome::{Failed, Pending, Succeeded};
    for db in both() {
        for (number, (outcomes, end)) in [
            (vec![Pending, Succeeded], RefundState::Succeeded),
            (vec![Succeeded, Pending], RefundState::Succeeded),
            (vec![Failed, Succeeded, Pending], RefundState::Failed),
            (vec![Pending, Succeeded, Failed], RefundState::Failed),
        ]
        .into_iter()
        .enumerate()
        {
            let made = order(&db, None, 1000);
            pay(&db, &made, &format!("ch_{number}"), 0);
            let id = store_refunds(&db, &made, None, None).unwrap().remove(0);
            for (step, outcome) in outcomes.into_iter().enumerate() {
                refund_event(&db, &format!("e-{number}-{step}"), &made, &id, outcome).unwrap();
            }
            assert_eq!(states(&db, &made), [end]);
            // A failed refund may be tried again.
            assert_eq!(store_refunds(&db, &made, None, None).is_ok(), end == RefundState::Failed);
        }
        let made = order(&db, None, 1000);
        assert!(matches!(refund_event(&db, "e-x", &made, "no such", Succeeded), Err(DeliveryError::Reject(_))));
    }
}

#[test]
fn refunded_money_counts_once_whichever_event_comes_first() {
    for db in both() {
        for charge_first in [true, false] {
            let made = order(&db, None, 1000);
            let charge = format!("ch_{charge_first}");
            pay(&db, &made, &charge, 0);
            let id = store_refunds(&db, &made, Some(400), Some("k")).unwrap().remove(0);
            if charge_first {
                pay(&db, &made, &charge, 400);
            }
            refund_event(&db, &format!("e-{charge_first}"), &made, &id, RefundOutcome::Succeeded).unwrap();
            assert!(matches!(store_refunds(&db, &made, Some(601), Some("k2")), Err(Error::Conflict(_))));
            if !charge_first {
                pay(&db, &made, &charge, 400);
            }
            assert_eq!(store_refunds(&db, &made, Some(600), Some("k3")).unwrap().len(), 1);
            assert_eq!(store::find(&db, &made.id, None).unwrap().refunded_cents, 400);
        }
    }
}

/// Status and refunded cents of an order.
fn refunded(db: &Database, order: &Order) -> (Status, u64) {
    let order = store::find(db, &order.id, None).unwrap();
    (order.status, order.refunded_cents)
}

#[test]
fn money_of_a_refund_that_fails_days_later_is_not_refunded_and_can_be_refunded_again() {
    use RefundOutcome::{Failed, Succeeded};
    for db in both() {
        let made = order(&db, None, 1000);
        pay(&db, &made, "ch_1", 0);
        let id = store_refunds(&db, &made, None, None).unwrap().remove(0);
        pay(&db, &made, "ch_1", 1000);
        refund_event(&db, "r1", &made, &id, Succeeded).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Refunded, 1000));
        assert!(matches!(store_refunds(&db, &made, None, None), Err(Error::Conflict(_))));
        for event in ["r2", "r2", "r3"] {
            refund_event(&db, event, &made, &id, Failed).unwrap();
            assert_eq!(refunded(&db, &made), (Status::Paid, 0));
        }
        // The charge's own event once more, and one of before the failure that is late.
        pay(&db, &made, "ch_1", 1000);
        let report = |event: &str, at: &str| Charge {
            event_id: event.into(),
            charge_id: "ch_1".into(),
            order_id: made.id.clone(),
            amount: made.total.clone(),
            refunded_cents: 1000,
            receipt_url: None,
            at: at.into(),
        };
        event::charge(&db, &report("late", "2024-02-27T15:50:02.000Z")).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Paid, 0));
        let again = store_refunds(&db, &made, None, None).unwrap().remove(0);
        refund_event(&db, "r4", &made, &again, Succeeded).unwrap();
        event::charge(&db, &report("again", "2099-02-27T15:50:02.000Z")).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Refunded, 1000));
        assert!(matches!(store_refunds(&db, &made, None, None), Err(Error::Conflict(_))));
    }
}

#[test]
fn a_failed_refund_takes_back_only_what_the_charge_included() {
    use RefundOutcome::{Failed, Succeeded};
    for db in both() {
        let made = order(&db, None, 1000);
        pay(&db, &made, "ch_1", 0);
        let a = store_refunds(&db, &made, Some(300), Some("a")).unwrap().remove(0);
        refund_event(&db, "a1", &made, &a, Succeeded).unwrap();
        pay(&db, &made, "ch_1", 300);
        let b = store_refunds(&db, &made, Some(400), Some("b")).unwrap().remove(0);
        refund_event(&db, "b1", &made, &b, Succeeded).unwrap();
        // 200 were refunded at the provider itself.
        pay(&db, &made, "ch_1", 900);
        refund_event(&db, "a2", &made, &a, Failed).unwrap();
        assert_eq!(refunded(&db, &made).1, 600);
        refund_event(&db, "b2", &made, &b, Failed).unwrap();
        assert_eq!(refunded(&db, &made).1, 200);
        // No event of the charge has ever included this one.
        let c = store_refunds(&db, &made, Some(500), Some("c")).unwrap().remove(0);
        refund_event(&db, "c1", &made, &c, Failed).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Paid, 200));

        // The provider has not accepted this refund; the event is about another one, made at the provider itself.
        let made = order(&db, None, 1000);
        pay(&db, &made, "ch_2", 0);
        let refused = store_refunds(&db, &made, None, None).unwrap().remove(0);
        refund_event(&db, "d1", &made, &refused, Failed).unwrap();
        pay(&db, &made, "ch_2", 300);
        assert_eq!(refunded(&db, &made).1, 300);
    }
}

#[test]
fn what_the_provider_lists_counts_again_after_a_refund_has_failed() {
    use RefundOutcome::{Failed, Succeeded};
    for db in both() {
        let made = order(&db, None, 1000);
        let note = |refunded| {
            let payment =
                Payment { charge_id: "ch_1".into(), amount: 1000, currency: "usd".into(), refunded, receipt_url: None };
            page::note(&db, &made, payment).unwrap().unwrap();
        };
        pay(&db, &made, "ch_1", 0);
        let id = store_refunds(&db, &made, None, None).unwrap().remove(0);
        note(1000);
        refund_event(&db, "r1", &made, &id, Succeeded).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Refunded, 1000));
        refund_event(&db, "r2", &made, &id, Failed).unwrap();
        assert_eq!(refunded(&db, &made), (Status::Paid, 0));
        let again = store_refunds(&db, &made, None, None).unwrap().remove(0);
        refund_event(&db, "r3", &made, &again, Succeeded).unwrap();
        note(1000);
        assert_eq!(refunded(&db, &made), (Status::Refunded, 1000));
    }
}

#[test]
fn an_order_shows_its_dispute_in_any_sequence_of_events_and_a_disputed_payment_is_not_refunded() {
    for pay_first in [true, false] {
        for db in both() {
            let made = order(&db, None, 1000);
            if pay_first {
                pay(&db, &made, "ch_1", 0);
            }
            dispute_event(&db, "d1", DisputeState::Open, 1);
            if !pay_first {
                pay(&db, &made, "ch_1", 0);
            }
            let dispute = || store::find(&db, &made.id, None).unwrap().dispute;
            assert_eq!(dispute(), Some(DisputeState::Open));
            assert!(matches!(store_refunds(&db, &made, None, None), Err(Error::Conflict(_))));
            dispute_event(&db, "d3", DisputeState::Won, 3);
            assert_eq!(dispute(), Some(DisputeState::Won));
            // An event that is late, and one that says nothing new.
            dispute_event(&db, "d2", DisputeState::Open, 2);
            dispute_event(&db, "d4", DisputeState::Won, 3);
            assert_eq!(dispute(), Some(DisputeState::Won));
            assert_eq!(store_refunds(&db, &made, None, None).unwrap().len(), 1);
            assert_eq!(store::find(&db, &made.id, None).unwrap().status, Status::Paid);
        }
    }
}

#[test]
fn refunds_that_never_end_do_not_keep_the_others_from_being_settled() {
    for db in both() {
        let mut orders = BTreeSet::new();
        for number in 0..8 {
            let made = order(&db, None, 1000);
            pay(&db, &made, &format!("ch_{number}"), 0);
            store_refunds(&db, &made, Some(300), Some("a")).unwrap();
            store_refunds(&db, &made, Some(300), Some("b")).unwrap();
            orders.insert(made.id);
        }
        // PostgreSQL rounds the time of a refund to a millisecond, which may not have begun yet.
        std::thread::sleep(Duration::from_millis(2));
        let all = unsettled(&db, 0, 100).unwrap();
        assert_eq!(all.len(), 8, "each order once: {all:?}");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), orders);
        assert_eq!(unsettled(&db, 60, 100).unwrap(), Vec::<String>::new());
        // With room for one order, each of them has its turn.
        let mut seen = BTreeSet::new();
        for _ in 0..10_000 {
            seen.extend(unsettled(&db, 0, 1).unwrap());
            if seen == orders {
                break;
            }
        }
        assert_eq!(seen, orders);
    }
}

#[test]
fn refunds_are_settled_until_the_time_is_over_or_the_provider_does_not_answer() {
    let orders = || vec!["1".to_owned(), "2".to_owned(), "3".to_owned()];
    let settled = |time: Duration, fails_at: &str| {
        let mut settled = Vec::new();
        let ended = for_about(time, orders(), |id| {
            if id == fails_at {
                return Err(Error::Unavailable("no answer".into()));
            }
            settled.push(id);
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        (settled, ended.is_ok())
    };
    assert_eq!(settled(Duration::from_secs(3600), ""), (orders(), true));
    assert_eq!(settled(Duration::ZERO, ""), (vec!["1".to_owned()], true));
    assert_eq!(settled(Duration::from_secs(3600), "2"), (vec!["1".to_owned()], false));
}

#[test]
fn customers_neither_see_nor_make_refunds() {
    for db in both() {
        let made = order(&db, Some("9"), 1000);
        let new = NewRefund { cents: None, idempotency_key: None };
        for (actor, hidden) in [(Actor::Customer("9".into()), false), (Actor::Customer("8".into()), true)] {
            let refusals = [give_back(&db, &actor, &made.id, &new).err(), list(&db, &actor, &made.id).err()];
            for refusal in refusals {
                match hidden {
                    true => assert!(matches!(refusal, Some(Error::NotFound))),
                    false => assert!(matches!(refusal, Some(Error::Forbidden(_)))),
                }
            }
        }
        let keyless = NewRefund { cents: Some(1), idempotency_key: None };
        let refused = give_back(&db, &Actor::Anyone, &made.id, &keyless);
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }
}
