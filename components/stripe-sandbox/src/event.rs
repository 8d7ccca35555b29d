//! The events that Stripe sends when something happens to a session.

use crate::object::{self, Expand};
use crate::session::{DisputeState, Refund, Session};
use serde_json::{Value, json};

/// An event, ready to be stored and sent.
#[derive(Debug)]
pub(crate) struct Event {
    pub id: String,
    pub payload: String,
}

/// The events of a session that was just paid, in Stripe's sequence.
pub(crate) fn paid(session: &Session, public_url: &str, now: i64, id: impl Fn() -> String) -> Vec<Event> {
    let Some(payment) = &session.payment else { return Vec::new() };
    [
        ("payment_intent.succeeded", object::payment_intent(session, payment, public_url, false)),
        ("charge.succeeded", object::charge(session, payment, public_url)),
        ("checkout.session.completed", object::session(session, public_url, Expand::Nothing)),
    ]
    .into_iter()
    .map(|(kind, object)| event(kind, object, now, id()))
    .collect()
}

/// The event of a session whose payment was just refunded.
pub(crate) fn refunded(session: &Session, public_url: &str, now: i64, id: impl Fn() -> String) -> Vec<Event> {
    let charge = session.payment.as_ref().map(|payment| object::charge(session, payment, public_url));
    charge.map(|charge| event("charge.refunded", charge, now, id())).into_iter().collect()
}

/// The event of a refund that was just made: in the sandbox it succeeds at once.
pub(crate) fn refund_created(refund: &Refund, now: i64, id: String) -> Event {
    event("refund.created", object::refund(refund), now, id)
}

/// Of a dispute that was just opened, or has just been decided, in Stripe's order: the money goes with it, and comes back
/// when the shop has won.
pub(crate) fn disputed(session: &Session, now: i64, id: impl Fn() -> String) -> Vec<Event> {
    let Some(payment) = &session.payment else { return Vec::new() };
    let Some(dispute) = &payment.dispute else { return Vec::new() };
    let kinds: &[&str] = match dispute.state {
        DisputeState::Open => &["charge.dispute.created", "charge.dispute.funds_withdrawn"],
        DisputeState::Won => &["charge.dispute.closed", "charge.dispute.funds_reinstated"],
        DisputeState::Lost => &["charge.dispute.closed"],
    };
    kinds.iter().map(|kind| event(kind, object::dispute(session, payment, dispute), now, id())).collect()
}

/// The event of a session that just ended without a payment.
pub(crate) fn expired(session: &Session, public_url: &str, now: i64, id: impl Fn() -> String) -> Vec<Event> {
    vec![event("checkout.session.expired", object::session(session, public_url, Expand::Nothing), now, id())]
}

fn event(kind: &str, object: Value, now: i64, id: String) -> Event {
    let payload = json!({
        "id": id,
        "object": "event",
        "api_version": object::VERSION,
        "created": now,
        "data": {"object": object},
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "type": kind,
    });
    Event { id, payload: payload.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{disputed, open, paid};
    use std::cell::Cell;

    fn payloads(events: Vec<Event>) -> Vec<Value> {
        events.iter().map(|event| serde_json::from_str(&event.payload).unwrap()).collect()
    }

    #[test]
    fn a_payment_sends_three_events_with_ids_of_their_own() {
        let next = Cell::new(0);
        let id = || format!("evt_{}", next.replace(next.get() + 1));
        let events = payloads(super::paid(&paid(), "http://a", 1_700_000_100, id));
        let field = |name: &str| events.iter().map(|e| e.get(name).unwrap().as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(field("type"), ["payment_intent.succeeded", "charge.succeeded", "checkout.session.completed"]);
        assert_eq!(field("id"), ["evt_0", "evt_1", "evt_2"]);
        let charge = events.get(1).unwrap().pointer("/data/object").unwrap();
        assert_eq!(charge.pointer("/metadata/orderId").unwrap(), "order-1");
        assert_eq!(charge.pointer("/amount").unwrap(), 15050);
    }

    #[test]
    fn a_refund_and_an_end_send_one_event_each() {
        let mut session = paid();
        session.payment.as_mut().unwrap().refunded = session.amount;
        let events = payloads(refunded(&session, "http://a", 1, || "evt_r".into()));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].pointer("/data/object/amount_refunded").unwrap(), 15050);
        assert_eq!(events[0].pointer("/data/object/refunded").unwrap(), true);
        let events = payloads(expired(&open(), "http://a", 1, || "evt_e".into()));
        assert_eq!(events[0].pointer("/data/object/metadata/orderId").unwrap(), "order-1");
    }

    #[test]
    fn a_dispute_takes_the_money_and_brings_it_back_when_the_shop_wins() {
        let mut session = disputed();
        let mut kinds = |state| {
            session.payment.as_mut().unwrap().dispute.as_mut().unwrap().state = state;
            let events = payloads(super::disputed(&session, 1, || "evt_d".into()));
            let status = |event: &Value| event.pointer("/data/object/status").unwrap().as_str().unwrap().to_owned();
            assert!(events.iter().all(|event| status(event) == state.word()));
            events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let opened = kinds(DisputeState::Open);
        assert_eq!(opened, ["charge.dispute.created", "charge.dispute.funds_withdrawn"]);
        let won = kinds(DisputeState::Won);
        assert_eq!(won, ["charge.dispute.closed", "charge.dispute.funds_reinstated"]);
        assert_eq!(kinds(DisputeState::Lost), ["charge.dispute.closed"]);
        assert!(super::disputed(&paid(), 1, String::new).is_empty());
    }

    #[test]
    fn an_unpaid_session_has_no_payment_events() {
        assert!(super::paid(&open(), "http://a", 1, String::new).is_empty());
        assert!(refunded(&open(), "http://a", 1, String::new).is_empty());
    }
}
