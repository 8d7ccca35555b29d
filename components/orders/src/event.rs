//! Payment events: each is handled once, in one transaction.
//!
//! The transaction stores the event's id in the inbox, compares the event with our own order, stores what it says about
//! the charge, and lets [`crate::payment_state`] derive the order's state from all known charges. A refused event
//! leaves nothing behind, not even its id: if an operator delivers it again, it is checked again, and refused again
//! while the reason lasts. The inbox keeps ids for 90 days; an event that is repeated later says nothing new, so it
//! changes nothing.
//!
//! Of two events at once, the second waits. The same event waits at the inbox until the first has succeeded or failed.
//! Another event of the same order waits at the order, and then sees what the first has stored.

use crate::bindings::orders::{self, DisputeState, Order};
use crate::bindings::payment_events::{Charge as Event, DeliveryError, ExpiredSession};
use crate::by::{self, By};
use crate::payment_state::{Charge, payment_state};
use crate::{rows, session, sql, store, time};
use souk_database::{Database, Row, Transaction, Value};

/// The longest id of an event, a charge or a session, in bytes; a provider's ids have less than half of it.
pub(crate) const MAX_ID: usize = 255;
/// The longest receipt URL, in bytes.
const MAX_URL: usize = 4096;

/// Handles a charge that was captured, or of which a part was refunded: either way the event says everything that is
/// known about the charge.
///
/// # Errors
/// `reject` when the event does not fit our own order; `retry` when the database does not answer.
pub(crate) fn charge(database: &Database, event: &Event) -> Result<(), DeliveryError> {
    once(database, &event.event_id, |transaction| {
        let charge = check(event)?;
        check_text("the order's id", &event.order_id, MAX_ID)?;
        transaction.query(sql::money::LOCK_CHARGE, &[Value::text(charge.id.as_str())])?;
        // Lock the order: it and all of its charges are read now, and decide what is written at the end.
        let order = store::lock(transaction, &event.order_id).map_err(|error| no_order(error, &event.order_id))?;
        if (event.amount.cents, &event.amount.currency) != (order.total.cents, &order.total.currency) {
            return Err(DeliveryError::Reject(format!(
                "order {} costs {} {}, charge {:?} is over {} {:?}",
                order.id, order.total.cents, order.total.currency, charge.id, event.amount.cents, event.amount.currency
            )));
        }
        note(transaction, &order, &charge)?;
        update_payment_state(transaction, &order, &charge.id)
    })
}

/// Notes that a payment page has ended, so that the next `pay` opens another. A page that we do not know (the caller
/// died before it was stored) is not stored: `pay` opens it again with its attempt, and begins the next attempt if the
/// page has ended.
///
/// # Errors
/// `reject` when there is no such order; `retry` when the database does not answer.
pub(crate) fn session_expired(database: &Database, event: &ExpiredSession) -> Result<(), DeliveryError> {
    once(database, &event.event_id, |transaction| {
        check_text("the order's id", &event.order_id, MAX_ID)?;
        check_text("the session's id", &event.session_id, MAX_ID)?;
        let order =
            store::find(transaction, &event.order_id, None).map_err(|error| no_order(error, &event.order_id))?;
        Ok(session::end(transaction, &order.id, &event.session_id)?)
    })
}

/// How an event ended that this component told itself. The inner error says why it was rejected.
pub(crate) fn told(ended: Result<(), DeliveryError>) -> Result<Result<(), String>, orders::Error> {
    match ended {
        Ok(()) => Ok(Ok(())),
        Err(DeliveryError::Retry(text)) => Err(orders::Error::Unavailable(text)),
        Err(DeliveryError::Reject(reason)) => Ok(Err(reason)),
    }
}

/// Runs `work` in a transaction that also stores the event's id; does nothing if the event was handled before.
pub(crate) fn once(
    database: &Database,
    event_id: &str,
    work: impl FnOnce(&Transaction<'_>) -> Result<(), DeliveryError>,
) -> Result<(), DeliveryError> {
    let outcome = check_text("the event's id", event_id, MAX_ID).and_then(|()| deliver(database, event_id, work));
    if let Err(DeliveryError::Reject(reason)) = &outcome {
        let id: String = event_id.chars().take(MAX_ID).collect();
        eprintln!("payment event {id:?} refused: {reason}");
    }
    outcome
}

fn deliver(
    database: &Database,
    event_id: &str,
    work: impl FnOnce(&Transaction<'_>) -> Result<(), DeliveryError>,
) -> Result<(), DeliveryError> {
    // Most repeated events end here, without waiting for a writer. Of those that arrive at once, the inbox lets one
    // pass.
    if database.query(sql::FIND_EVENT, &[event_id.into()])?.next().is_some() {
        return Ok(());
    }
    database.transaction(|transaction| {
        if transaction.query(sql::NOTE_EVENT, &[event_id.into()])?.next().is_none() {
            return Ok(());
        }
        transaction.query(sql::PURGE_EVENTS, &[])?;
        by::during(By::Event(event_id.to_owned()), || work(transaction))
    })
}

/// The charge in an event, checked.
fn check(event: &Event) -> Result<Charge, DeliveryError> {
    check_text("the charge's id", &event.charge_id, MAX_ID)?;
    if let Some(url) = &event.receipt_url {
        check_text("the receipt's URL", url, MAX_URL)?;
    }
    if event.refunded_cents > event.amount.cents {
        return Err(DeliveryError::Reject(format!("charge {:?} was refunded more than it was over", event.charge_id)));
    }
    if !time::is_timestamp(&event.at) {
        return Err(DeliveryError::Reject(format!("the time of charge {:?} is not RFC 3339 in UTC", event.charge_id)));
    }
    Ok(Charge {
        id: event.charge_id.clone(),
        amount_cents: event.amount.cents,
        refunded_cents: event.refunded_cents,
        receipt_url: event.receipt_url.clone(),
        at: event.at.clone(),
    })
}

pub(crate) fn no_order(error: orders::Error, id: &str) -> DeliveryError {
    match error {
        orders::Error::NotFound => DeliveryError::Reject(format!("there is no order {id:?}")),
        _ => DeliveryError::Retry("the orders' database does not answer".into()),
    }
}

/// Stores what is known about a charge.
fn note(transaction: &Transaction<'_>, order: &Order, charge: &Charge) -> Result<(), DeliveryError> {
    let refunded_cents = refunded(transaction, order, charge)?;
    let parameters = [
        Value::text(charge.id.as_str()),
        Value::text(order.id.as_str()),
        rows::number(charge.amount_cents)?,
        rows::number(refunded_cents)?,
        charge.receipt_url.as_deref().into(),
        Value::text(charge.at.as_str()),
    ];
    match transaction.query(sql::NOTE_CHARGE, &parameters)?.next() {
        Some(mut row) => {
            let known: u64 = row.integer()?;
            if known > refunded_cents {
                eprintln!(
                    "REFUND OF ORDER {}, someone must look at it unless an older event came late: {} cents of charge {:?} \
                     were given back, an event says {}; the larger number counts",
                    order.id, known, charge.id, refunded_cents
                );
            }
            Ok(())
        }
        None => Err(DeliveryError::Reject(format!("charge {:?} was for another order before", charge.id))),
    }
}

/// How much of a charge was refunded according to an event, without refunds that have failed since: the event may be
/// late, and the money is back.
fn refunded(transaction: &Transaction<'_>, order: &Order, charge: &Charge) -> Result<u64, DeliveryError> {
    if charge.refunded_cents == 0 {
        return Ok(0);
    }
    let parameters = [Value::text(order.id.as_str()), Value::text(charge.id.as_str()), Value::text(charge.at.as_str())];
    let failed: u64 = match transaction.query(sql::money::FAILED_SINCE, &parameters)?.next() {
        Some(mut row) => row.integer()?,
        None => 0,
    };
    Ok(charge.refunded_cents.saturating_sub(failed))
}

/// Updates the order from its charges. Logs it when more money is now due for refund; `last` is the charge of the
/// event.
pub(crate) fn update_payment_state(
    transaction: &Transaction<'_>,
    order: &Order,
    last: &str,
) -> Result<(), DeliveryError> {
    let charges = transaction.query(sql::CHARGES, &[order.id.as_str().into()])?;
    let charges = charges.map(known_charge).collect::<Result<Vec<_>, _>>()?;
    let now = payment_state(order.status, &charges);
    let refunded = now.paid_by.map_or(0, |charge| charge.refunded_cents);
    let paid_by = now.paid_by.map(|charge| charge.id.as_str());
    // The provider's clock may be behind ours: no order is paid before it was created.
    let paid_at = now.paid_by.map(|charge| charge.at.as_str().max(order.created_at.as_str()));
    let dispute = dispute_of(transaction, &order.id)?;
    let receipt = now.paid_by.and_then(|charge| charge.receipt_url.as_deref());
    let before = (order.paid_at.as_deref(), order.charge_id.as_deref(), order.receipt_url.as_deref());
    if (order.status, order.refunded_cents, order.refund_due_cents) == (now.status, refunded, now.refund_due_cents)
        && before == (paid_at, paid_by, receipt)
        && order.dispute == dispute
    {
        return Ok(());
    }
    let [changed_by, trace] = by::columns();
    let parameters = [
        Value::text(order.id.as_str()),
        rows::status_name(now.status).into(),
        paid_at.into(),
        paid_by.into(),
        receipt.into(),
        rows::number(refunded)?,
        rows::number(now.refund_due_cents)?,
        dispute.map(rows::dispute_name).into(),
        changed_by,
        trace,
    ];
    transaction.query(sql::SAVE_PAYMENT_STATE, &parameters)?;
    if now.refund_due_cents > order.refund_due_cents {
        eprintln!(
            "order {} is {}: since charge {last:?} there are {} cents flagged for refund",
            order.id,
            rows::status_name(now.status),
            now.refund_due_cents
        );
    }
    Ok(())
}

/// A charge as the database stores it.
pub(crate) fn known_charge(mut row: Row) -> Result<Charge, souk_database::Error> {
    Ok(Charge {
        id: row.text()?,
        amount_cents: row.integer()?,
        refunded_cents: row.integer()?,
        receipt_url: row.optional_text()?,
        at: row.text()?,
    })
}

pub(crate) fn check_text(what: &str, text: &str, max: usize) -> Result<(), DeliveryError> {
    if !(1..=max).contains(&text.len()) {
        return Err(DeliveryError::Reject(format!("{what} must have 1 to {max} bytes, not {}", text.len())));
    }
    // PostgreSQL cannot store or compare this character.
    if text.contains('\0') {
        return Err(DeliveryError::Reject(format!("{what} must not contain the character U+0000")));
    }
    Ok(())
}

/// The state of an order's disputes that the order shows: open if one is open, otherwise lost if one is lost, otherwise
/// won.
fn dispute_of(transaction: &Transaction<'_>, id: &str) -> Result<Option<DisputeState>, souk_database::Error> {
    let disputes = transaction.query(sql::money::DISPUTES, &[id.into()])?;
    let mut states = Vec::new();
    for mut row in disputes {
        let _charge = row.text()?;
        states.push(rows::dispute(&row.text()?)?);
    }
    let first = |wanted| states.iter().copied().find(|state| *state == wanted);
    Ok(first(DisputeState::Open).or_else(|| first(DisputeState::Lost)).or_else(|| first(DisputeState::Won)))
}

#[cfg(test)]
mod tests;
