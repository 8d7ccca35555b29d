//! Disputes: a customer asks their bank for the money back. Each dispute is stored with its charge, and the order shows
//! the most important state of its disputes. No event names an order, so a dispute of an unknown charge waits until the
//! charge is known.

use crate::bindings::payment_events::{DeliveryError, DisputeChange};
use crate::sql::money;
use crate::{event, rows, store, time};
use souk_database::{Database, Value};

/// Stores a new dispute of a charge, or a new state of one.
///
/// # Errors
/// `reject` when the event is malformed; `retry` when the database does not answer.
pub(crate) fn changed(database: &Database, change: &DisputeChange) -> Result<(), DeliveryError> {
    event::once(database, &change.event_id, |transaction| {
        for (what, text) in [
            ("the dispute's id", &change.dispute_id),
            ("the charge's id", &change.charge_id),
            ("the dispute's reason", &change.reason),
        ] {
            event::check_text(what, text, event::MAX_ID)?;
        }
        if !time::is_timestamp(&change.at) {
            let reason = format!("the time of dispute {:?} is not RFC 3339 in UTC", change.dispute_id);
            return Err(DeliveryError::Reject(reason));
        }
        let charge = Value::text(change.charge_id.as_str());
        transaction.query(money::LOCK_CHARGE, std::slice::from_ref(&charge))?;
        let parameters = [
            Value::text(change.dispute_id.as_str()),
            charge.clone(),
            rows::number(change.cents)?,
            rows::dispute_name(change.state).into(),
            Value::text(change.reason.as_str()),
            Value::text(change.at.as_str()),
        ];
        if transaction.query(money::NOTE_DISPUTE, &parameters)?.next().is_none() {
            return Ok(());
        }
        let Some(mut row) = transaction.query(money::ORDER_OF_CHARGE, &[charge])?.next() else {
            println!(
                "dispute {:?} is about charge {:?}, which belongs to no known order",
                change.dispute_id, change.charge_id
            );
            return Ok(());
        };
        let id = row.text()?;
        let order = store::lock(transaction, &id)
            .map_err(|_| DeliveryError::Retry("the orders' database does not answer".into()))?;
        eprintln!(
            "DISPUTE OF ORDER {id}: {} cents of charge {:?} are disputed ({:?}); dispute {:?} is {}",
            change.cents,
            change.charge_id,
            change.reason,
            change.dispute_id,
            rows::dispute_name(change.state)
        );
        event::update_payment_state(transaction, &order, &change.charge_id)
    })
}
