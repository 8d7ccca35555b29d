//! Passes an event to the orders, and turns the result into an answer to the provider.
//!
//! The contract is meant for a durable link: the call returns when the event is stored, the orders are called later,
//! and an event that they reject is kept for an operator. So `retry` means here that the event could not be stored.
//! Over a link that waits for the orders, `retry` and `reject` come from the orders themselves; the component works the
//! same way.
//!
//! The provider must not repeat for days an event that can never succeed, and no payment may be lost without a trace.
//! So an event that cannot be read, or is rejected at once, is acknowledged and logged in a line that begins with
//! [`PARKED`]. An event that does not concern orders gets a normal log line.
//!
//! An id that no order can have is passed on too: only the orders know which ids exist.

use crate::bindings::payment_events::{self, DeliveryError};
use crate::event::{Event, Notice, Unmapped};
use crate::http::reply::Reply;

/// The beginning of the log line of an event that somebody must look at.
const PARKED: &str = "PAYMENT EVENT NOT APPLIED, someone must look at it";

/// Passes an event on. `Ok` means that the provider need not repeat it.
///
/// # Errors
/// 503 when the provider must send it again.
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
        // A dispute names only a charge.
        Notice::Dispute(change) => (&change.charge_id, payment_events::dispute_changed(change)),
    };
    reply_to(event, order, result)
}

/// The answer to the provider for the `result` of an event; logs why an event was not accepted.
fn reply_to(event: &Event<'_>, order: &str, result: Result<(), DeliveryError>) -> Result<(), Reply> {
    match result {
        Ok(()) => Ok(()),
        Err(DeliveryError::Reject(reason)) => {
            eprintln!("{PARKED}: {} for the order {order:?} was refused: {reason}", title(event));
            Ok(())
        }
        Err(DeliveryError::Retry(reason)) => {
            eprintln!(
                "{} for the order {order:?} was not stored, and the provider must send it again: {reason}",
                title(event)
            );
            Err(Reply::unavailable())
        }
    }
}

/// An event in a log line; `Debug` escapes line breaks in the provider's text.
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
    fn an_event_cannot_break_a_log_line() {
        let event = Event::parse(br#"{"id":"evt\n1","type":"a\u001b[2J"}"#).unwrap();
        assert_eq!(title(&event), r#"event "evt\n1" ("a\u{1b}[2J")"#);
    }
}
