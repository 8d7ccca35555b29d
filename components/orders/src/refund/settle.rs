//! Refunds whose outcome is not known: requested again, or looked up in the provider's list, because the events about them
//! may be lost.
//!
//! What the list says is stored as an event would store it. Its id is made of what it says, so the same answer counts
//! once, and an event that comes later changes nothing.
//!
//! The orders come at random: some refunds never end (Stripe does not have them), and must not keep the others waiting.

use super::{Stored, ask, changed, stored, too_old_message};
use crate::bindings::checkout;
use crate::bindings::orders::{Error, Order};
use crate::bindings::payment_events::{RefundChange, RefundOutcome};
use crate::bindings::provider::{self, KnownRefund};
use crate::bindings::refunds::RefundState;
use crate::sql::money;
use crate::{event, page, store};
use souk_database::Database;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// After this time a call settles refunds of no further order: the payment pages are checked in the same call.
const MAX_SETTLE_TIME: Duration = Duration::from_secs(5);

/// Settles refunds that have waited for at least `minutes`, of at most `limit` orders and for about
/// [`MAX_SETTLE_TIME`]. Returns what could not be settled: the id of the order, and why.
///
/// # Errors
/// `unavailable` when the provider or the database does not answer.
pub(crate) fn settle(database: &Database, minutes: u32, limit: u32) -> Result<Vec<(String, String)>, Error> {
    let orders = unsettled(database, minutes, limit)?;
    let mut problems = Vec::new();
    for_about(MAX_SETTLE_TIME, orders, |id| {
        let found = settle_order(database, &id)?;
        problems.extend(found.into_iter().map(|problem| (id.clone(), problem)));
        Ok(())
    })?;
    Ok(problems)
}

/// The orders of refunds that have waited for at least `minutes`, at most `limit` and at random, each once.
pub(super) fn unsettled(database: &Database, minutes: u32, limit: u32) -> Result<Vec<String>, Error> {
    let rows = database.query(money::UNSETTLED, &[minutes.into(), limit.into()])?;
    let mut orders = rows.map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    orders.retain(|id| seen.insert(id.clone()));
    Ok(orders)
}

/// Calls `settle` with one order after the other, and with no further one when `time` is over or it fails.
pub(super) fn for_about(
    time: Duration,
    orders: Vec<String>,
    mut settle: impl FnMut(String) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = Instant::now();
    for id in orders {
        settle(id)?;
        if start.elapsed() > time {
            break;
        }
    }
    Ok(())
}

/// Settles the refunds of one order. Returns what could not be settled.
fn settle_order(database: &Database, id: &str) -> Result<Vec<String>, Error> {
    let order = store::find(database, id, None)?;
    let refunds = stored(database.query(money::REFUNDS, &[id.into()])?, &order.total.currency)?;
    let mut charges = BTreeSet::new();
    for stored in &refunds {
        match (&stored.refund.state, stored.recent) {
            (RefundState::Requested, true) => {
                if !ask(database, &order, stored)? {
                    return Err(Error::Unavailable("the payment provider does not answer".into()));
                }
            }
            (RefundState::Requested, false) | (RefundState::Sent, _) => {
                charges.insert(stored.refund.charge_id.as_str());
            }
            (RefundState::Succeeded | RefundState::Failed, _) => {}
        }
    }
    let mut problems = Vec::new();
    for charge in charges {
        let of_charge: Vec<_> = refunds.iter().filter(|stored| stored.refund.charge_id == charge).collect();
        problems.extend(look_up(database, &order, charge, &of_charge)?);
    }
    Ok(problems)
}

/// Asks the provider for the refunds of a charge, and stores what became of ours. Returns what is wrong.
fn look_up(database: &Database, order: &Order, charge: &str, ours: &[&Stored]) -> Result<Vec<String>, Error> {
    let known = match provider::of_charge(charge) {
        Ok(known) => known,
        Err(checkout::Error::Unavailable(text)) => return Err(Error::Unavailable(text)),
        Err(checkout::Error::Invalid(text) | checkout::Error::Internal(text)) => {
            return Ok(vec![format!("the payment provider does not say what became of refunds of {charge:?}: {text}")]);
        }
    };
    let mut problems = Vec::new();
    for Stored { refund, .. } in ours {
        if !matches!(refund.state, RefundState::Requested | RefundState::Sent) {
            continue;
        }
        match (known.refunds.iter().find(|known| known.refund_id == refund.id), &refund.state) {
            (Some(known), _) => problems.extend(store_outcome(database, order, known)?.err()),
            (None, RefundState::Requested) => problems.push(too_old_message(&order.id, &refund.id)),
            (None, _) => problems.push(format!(
                "order {}: the payment provider has no refund {} of {charge:?}; check there whether it was made",
                order.id, refund.id
            )),
        }
    }
    if let Some(payment) = known.payment {
        problems.extend(page::note(database, order, payment)?.err());
    }
    Ok(problems)
}

/// Stores what became of a refund. The inner error says why the order does not take it.
fn store_outcome(database: &Database, order: &Order, known: &KnownRefund) -> Result<Result<(), String>, Error> {
    let (word, outcome) = match known.outcome {
        provider::RefundOutcome::Pending => ("pending", RefundOutcome::Pending),
        provider::RefundOutcome::Succeeded => ("succeeded", RefundOutcome::Succeeded),
        provider::RefundOutcome::Failed => ("failed", RefundOutcome::Failed),
    };
    let change = RefundChange {
        event_id: format!("refund:{}:{word}", known.refund_id),
        refund_id: known.refund_id.clone(),
        order_id: order.id.clone(),
        outcome,
        failure: known.failure.clone(),
    };
    event::told(changed(database, &change))
}
