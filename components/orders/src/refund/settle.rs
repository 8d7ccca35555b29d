//! Refunds whose outcome is not known: requested again, or looked up in the provider's list, because the events about them
//! may be lost.
//!
//! What the list says is stored as an event would store it. Its id is made of what it says, so the same answer counts
//! once, and an event that comes later changes nothing.

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

/// Settles refunds that have waited for at least `minutes`, of at most `limit` orders. Returns what could not be settled:
/// the id of the order, and why.
///
/// # Errors
/// `unavailable` when the provider or the database does not answer.
pub(crate) fn settle(database: &Database, minutes: u32, limit: u32) -> Result<Vec<(String, String)>, Error> {
    let orders = database.query(money::UNSETTLED, &[minutes.into(), limit.into()])?;
    let orders = orders.map(|mut row| row.text()).collect::<Result<BTreeSet<_>, _>>()?;
    let mut problems = Vec::new();
    for id in orders {
        let order = store::find(database, &id, None)?;
        let refunds = stored(database.query(money::REFUNDS, &[id.as_str().into()])?, &order.total.currency)?;
        let mut charges = BTreeSet::new();
        for stored in &refunds {
            match (&stored.refund.state, stored.recent) {
                (RefundState::Requested, true) => ask(database, &order, stored)?,
                (RefundState::Requested, false) | (RefundState::Sent, _) => {
                    charges.insert(stored.refund.charge_id.as_str());
                }
                (RefundState::Succeeded | RefundState::Failed, _) => {}
            }
        }
        for charge in charges {
            let of_charge: Vec<_> = refunds.iter().filter(|stored| stored.refund.charge_id == charge).collect();
            let found = look_up(database, &order, charge, &of_charge)?;
            problems.extend(found.into_iter().map(|problem| (id.clone(), problem)));
        }
    }
    Ok(problems)
}

/// Asks the provider for the refunds of a charge, and stores what has become of ours. Returns what is wrong.
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
            (Some(known), _) => problems.extend(tell(database, order, known)?.err()),
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

/// Stores what has become of a refund. The inner error says why it does not fit.
fn tell(database: &Database, order: &Order, known: &KnownRefund) -> Result<Result<(), String>, Error> {
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
