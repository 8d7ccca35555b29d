//! Hands an event to the orders, and turns what becomes of it into an answer to the provider.
//!
//! The contract is meant for a durable link: the call returns when the event is stored, the orders are called after
//! that, and one that they refuse is kept for an operator. So `retry` means here that it could not be stored. Over a
//! link that waits for the orders, `retry` and `reject` are their own answers; the component is the same.
//!
//! Nothing may make the provider send for days what can never succeed, and no payment may get lost without a trace. So
//! an event that cannot be read, or is refused at once, is acknowledged and stands in the log in a line that begins with
//! [`PARKED`]. One that is not about orders gets a quiet line.
//!
//! A number that no order can have goes to the orders too: whether it is one is theirs to say.

use crate::bindings::payment_events::{self, DeliveryError};
use crate::event::{Event, Notice, Unmapped};
use crate::http::reply::Reply;

/// How the log line of an event begins that someone must look at.
const PARKED: &str = "PAYMENT EVENT NOT APPLIED, someone must look at it";

/// Hands an event over. `Ok` means that it need not come again.
///
/// # Errors
/// 503 when it must come again.
pub(crate) fn deliver(event: &Event<'_>) -> Result<(), Reply> {
    let notice = match event.notice() {
        Ok(notice) => notice,
        Err(Unmapped::NotOurs(why)) => {
            println!("{} acknowledged and ignored: {why}", title(event));
            return Ok(());
        }
        Err(Unmapped::Unreadable(why)) => {
            eprintln!("{PARKED}: {} cannot be read: {why}", title(event));
            return Ok(());
        }
    };
    let (order, result) = match &notice {
        Notice::Succeeded(charge) => (&charge.order_id, payment_events::payment_succeeded(charge)),
        Notice::Refunded(charge) => (&charge.order_id, payment_events::payment_refunded(charge)),
        Notice::Expired(session) => (&session.order_id, payment_events::session_expired(session)),
        Notice::Refund(change) => (&change.order_id, payment_events::refund_changed(change)),
        // It names a charge alone.
        Notice::Dispute(change) => (&change.charge_id, payment_events::dispute_changed(change)),
    };
    reply_to(event, order, result)
}

/// The answer to the provider for the `result` of an event; logs why an event was not taken.
fn reply_to(event: &Event<'_>, order: &str, result: Result<(), DeliveryError>) -> Result<(), Reply> {
    match result {
        Ok(()) => Ok(()),
        Err(DeliveryError::Reject(reason)) => {
            eprintln!("{PARKED}: {} for the order {order:?} was refused: {reason}", title(event));
            Ok(())
        }
        Err(DeliveryError::Retry(reason)) => {
            eprintln!("{} for the order {order:?} was not taken and must come again: {reason}", title(event));
            Err(Reply::unavailable())
        }
    }
}

/// An event in a log line; `Debug` keeps a text from outside on its line.
fn title(event: &Event<'_>) -> String {
    format!("event {:?} ({:?})", event.id, event.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(result: Result<(), DeliveryError>) -> Result<(), Reply> {
        let event = Event::parse(br#"{"id":"evt_1","type":"charge.succeeded"}"#).unwrap();
        reply_to(&event, "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2", result)
    }

    #[test]
    fn only_an_event_that_can_succeed_later_comes_again() {
        assert_eq!(replied(Ok(())), Ok(()));
        assert_eq!(replied(Err(DeliveryError::Reject("another amount".into()))), Ok(()));
        assert_eq!(replied(Err(DeliveryError::Retry("no database".into()))), Err(Reply::unavailable()));
    }

    #[test]
    fn a_log_line_stays_one_line_whatever_an_event_is_called() {
        let event = Event::parse(br#"{"id":"evt\n1","type":"a\u001b[2J"}"#).unwrap();
        assert_eq!(title(&event), r#"event "evt\n1" ("a\u{1b}[2J")"#);
    }
}
