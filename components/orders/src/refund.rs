//! Refunds. A refund is stored first and then requested from the payment provider under its own id, so that neither a
//! crash nor a second click pays twice.
//!
//! How much can be refunded is decided while the order is locked: from its charges, its earlier refunds and its
//! disputes ([`plan`]). The outcome of a refund comes from the provider's events ([`changed`]), or, where they are
//! missing, from its list of refunds ([`settle`]); its answer to the request says only that the request has arrived. The
//! order's amounts follow its charges, as they do when money is refunded at the provider itself. When a refund fails
//! after all, no event of the charge says that its money is back, so the refund's own event takes it back.
//!
//! If nobody knows whether the provider received a request, it is sent again: by the same call, or by
//! [`crate::reconcile`]. The provider forgets an id after 24 hours, so an older refund is not requested again.

pub(crate) mod plan;
pub(crate) mod settle;

use crate::bindings::orders::{Actor, Error, Money, Order};
use crate::bindings::payment_events::{DeliveryError, RefundChange, RefundOutcome};
use crate::bindings::provider::{self, RefundRequest};
use crate::bindings::refunds::{NewRefund, Refund, RefundState};
use crate::sql::money;
use crate::{by, event, key, rows, sql, store};
use plan::Asked;
use souk_database::{Database, Row, Rows, Transaction, Value};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A refund as it is stored.
pub(crate) struct Stored {
    refund: Refund,
    key: Option<String>,
    asked_cents: Option<u64>,
    /// The refund is so recent that the provider still knows its id, if the request has reached it.
    recent: bool,
}

/// Refunds an order; see `give-back` in the contract.
///
/// # Errors
/// `not-found`; `forbidden` for customers; `invalid` for a wrong amount or key; `conflict` when less can be refunded;
/// `key-reused`; those of the database.
pub(crate) fn give_back(database: &Database, actor: &Actor, id: &str, new: &NewRefund) -> Result<Vec<Refund>, Error> {
    let order = visible(database, actor, id)?;
    match (&new.idempotency_key, new.cents) {
        (Some(text), _) => key::check(text)?,
        (None, Some(_)) => {
            return Err(Error::Invalid("a refund of a part needs an idempotency key, so that it is made once".into()));
        }
        (None, None) => {}
    }
    if new.cents == Some(0) {
        return Err(Error::Invalid("a refund must be of at least one cent".into()));
    }
    let requested = database.transaction(|transaction| store_request(transaction, actor, &order.id, new))?;
    for stored in stored(database.query(money::REFUNDS, &[id.into()])?, &order.total.currency)? {
        if requested.contains(&stored.refund.id) {
            // Without an answer the refund waits, and its state says so.
            ask(database, &order, &stored)?;
        }
    }
    let all = stored(database.query(money::REFUNDS, &[id.into()])?, &order.total.currency)?;
    Ok(all.into_iter().map(|stored| stored.refund).filter(|refund| requested.contains(&refund.id)).collect())
}

/// The refunds of an order.
///
/// # Errors
/// `not-found`; `forbidden` for customers; those of the database.
pub(crate) fn list(database: &Database, actor: &Actor, id: &str) -> Result<Vec<Refund>, Error> {
    let order = visible(database, actor, id)?;
    let all = stored(database.query(money::REFUNDS, &[id.into()])?, &order.total.currency)?;
    Ok(all.into_iter().map(|stored| stored.refund).collect())
}

/// The order, if the actor may refund it.
fn visible(database: &Database, actor: &Actor, id: &str) -> Result<Order, Error> {
    let order = store::find(database, id, actor.sees())?;
    match actor {
        Actor::Customer(_) => Err(Error::Forbidden("only administrators make and see refunds".into())),
        Actor::Admin(_) | Actor::Anyone => Ok(order),
    }
}

/// Stores the refunds of this call, or finds those that the same call stored before; returns their ids.
pub(crate) fn store_request(
    transaction: &Transaction<'_>,
    actor: &Actor,
    id: &str,
    new: &NewRefund,
) -> Result<BTreeSet<String>, Error> {
    let order = store::lock(transaction, id)?;
    let known = stored(transaction.query(money::REFUNDS, &[id.into()])?, &order.total.currency)?;
    let same: Vec<&Stored> = known
        .iter()
        .filter(|stored| match &new.idempotency_key {
            Some(_) => stored.key == new.idempotency_key,
            // A whole refund without a key: the same one if nobody knows whether it reached the provider.
            None => stored.key.is_none() && stored.refund.state == RefundState::Requested,
        })
        .collect();
    if same.iter().any(|stored| stored.asked_cents != new.cents) {
        return Err(Error::KeyReused);
    }
    if !same.is_empty() {
        return Ok(same.into_iter().map(|stored| stored.refund.id.clone()).collect());
    }
    let charges = transaction.query(sql::CHARGES, &[id.into()])?;
    let charges = charges.map(event::known_charge).collect::<Result<Vec<_>, _>>()?;
    let contested = contested(transaction, id)?;
    let parts = plan::plan(order.status, &charges, &asked(&known), &contested, new.cents);
    let parts = parts.map_err(|most| Error::Conflict(too_much(most, &order)))?;
    let mut ids = BTreeSet::new();
    for (charge, cents) in parts {
        let refund_id = Uuid::new_v4().to_string();
        let [changed_by, trace] = by::columns();
        let parameters = [
            Value::text(refund_id.as_str()),
            id.into(),
            Value::Text(charge),
            rows::number(cents)?,
            new.cents.map(rows::number).transpose()?.unwrap_or(Value::Null),
            new.idempotency_key.as_deref().into(),
            actor.owner().into(),
            changed_by,
            trace,
        ];
        transaction.query(money::ADD_REFUND, &parameters)?;
        ids.insert(refund_id);
    }
    Ok(ids)
}

fn too_much(most: u64, order: &Order) -> String {
    let currency = order.total.currency.to_uppercase();
    match most {
        0 => "nothing of this order can be given back: it was not paid, was given back, or is disputed".to_owned(),
        most => format!("no more than {}.{:02} {currency} of this order can be given back", most / 100, most % 100),
    }
}

/// The refunds so far of each charge.
fn asked(known: &[Stored]) -> BTreeMap<String, Asked> {
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    for Stored { refund, .. } in known {
        let of = asked.entry(refund.charge_id.clone()).or_default();
        match refund.state {
            RefundState::Requested | RefundState::Sent => of.under_way += refund.amount.cents,
            RefundState::Succeeded => of.succeeded += refund.amount.cents,
            RefundState::Failed => {}
        }
    }
    asked
}

/// The charges with an open or lost dispute: the bank has their money, or may take it.
fn contested(transaction: &Transaction<'_>, id: &str) -> Result<BTreeSet<String>, souk_database::Error> {
    let disputes = transaction.query(money::DISPUTES, &[id.into()])?;
    let disputes = disputes.map(|mut row| Ok((row.text()?, row.text()?))).collect::<Result<Vec<_>, _>>()?;
    Ok(disputes.into_iter().filter(|(_, state)| state != "WON").map(|(charge, _)| charge).collect())
}

/// Requests a refund from the provider if nobody knows whether it was requested before. A failure is logged, and the
/// refund stays as it is. Returns false when the provider does not answer.
fn ask(database: &Database, order: &Order, stored: &Stored) -> Result<bool, Error> {
    let refund = &stored.refund;
    if refund.state != RefundState::Requested {
        return Ok(true);
    }
    if !stored.recent {
        eprintln!("{}", too_old_message(&order.id, &refund.id));
        return Ok(true);
    }
    let request = RefundRequest {
        refund_id: refund.id.clone(),
        order_id: order.id.clone(),
        charge_id: refund.charge_id.clone(),
        amount: refund.amount.cents,
    };
    let (state, failure) = match provider::create(&request) {
        Ok(_) => (RefundState::Sent, None),
        Err(crate::bindings::checkout::Error::Invalid(text)) => (RefundState::Failed, Some(text)),
        Err(error) => {
            eprintln!(
                "order {}: refund {} could not be requested from the provider and waits: {error:?}",
                order.id, refund.id
            );
            return Ok(!matches!(error, crate::bindings::checkout::Error::Unavailable(_)));
        }
    };
    let [changed_by, trace] = by::columns();
    let moved = [
        Value::text(refund.id.as_str()),
        Value::text(order.id.as_str()),
        state_name(state).into(),
        failure.as_deref().into(),
        ",REQUESTED,".into(),
        changed_by,
        trace,
    ];
    database.query(money::MOVE_REFUND, &moved)?;
    Ok(true)
}

fn too_old_message(order: &str, refund: &str) -> String {
    format!(
        "order {order}: refund {refund} was requested more than 23 hours ago and is not confirmed; check at the payment \
         provider whether it was made"
    )
}

/// Stores a new state of a refund, from an event of the provider.
///
/// # Errors
/// `reject` when there is no such refund; `retry` when the database does not answer.
pub(crate) fn changed(database: &Database, change: &RefundChange) -> Result<(), DeliveryError> {
    event::once(database, &change.event_id, |transaction| {
        event::check_text("the refund's id", &change.refund_id, event::MAX_ID)?;
        event::check_text("the order's id", &change.order_id, event::MAX_ID)?;
        let place = [Value::text(change.refund_id.as_str()), Value::text(change.order_id.as_str())];
        if transaction.query(money::FIND_REFUND, &place)?.next().is_none() {
            let reason = format!("order {:?} has no refund {:?}", change.order_id, change.refund_id);
            return Err(DeliveryError::Reject(reason));
        }
        let (state, from) = match change.outcome {
            RefundOutcome::Pending => (RefundState::Sent, ",REQUESTED,"),
            RefundOutcome::Succeeded => (RefundState::Succeeded, ",REQUESTED,SENT,"),
            // A bank may return the money days later.
            RefundOutcome::Failed => (RefundState::Failed, ",REQUESTED,SENT,SUCCEEDED,"),
        };
        let failure: Option<String> =
            change.failure.as_ref().map(|text| text.chars().filter(|c| *c != '\0').take(event::MAX_ID).collect());
        // What a failed refund changes about its order is decided from several rows.
        let locked = match state {
            RefundState::Failed => {
                let order = store::lock(transaction, &change.order_id);
                Some(order.map_err(|error| event::no_order(error, &change.order_id))?)
            }
            _ => None,
        };
        let [id, order] = place;
        let [changed_by, trace] = by::columns();
        let parameters =
            [id, order, state_name(state).into(), failure.as_deref().into(), from.into(), changed_by, trace];
        let moved = transaction.query(money::MOVE_REFUND, &parameters)?.next();
        if let (Some(mut row), Some(order)) = (moved, locked) {
            let (cents, charge): (u64, String) = (row.integer()?, row.text()?);
            eprintln!(
                "REFUND FAILED, someone must look at it: {cents} cents of order {:?} were not given back: {}",
                change.order_id,
                failure.as_deref().unwrap_or("the payment provider does not say why")
            );
            let parameters = [Value::text(order.id.as_str()), Value::text(charge.as_str()), rows::number(cents)?];
            transaction.query(money::TAKE_BACK, &parameters)?;
            event::update_payment_state(transaction, &order, &charge)?;
        }
        Ok(())
    })
}

fn stored(rows: Rows, currency: &str) -> Result<Vec<Stored>, souk_database::Error> {
    rows.map(|row| one(row, currency)).collect()
}

fn one(mut row: Row, currency: &str) -> Result<Stored, souk_database::Error> {
    let (id, charge_id, cents) = (row.text()?, row.text()?, row.integer()?);
    let refund = Refund {
        id,
        charge_id,
        amount: Money { cents, currency: currency.to_owned() },
        state: state(&row.text()?)?,
        failure: row.optional_text()?,
        asked_by: row.optional_text()?,
        created_at: row.text()?,
        updated_at: row.text()?,
    };
    let key = row.optional_text()?;
    let asked_cents = Some(row.integer()?).filter(|cents| *cents > 0);
    Ok(Stored { refund, key, asked_cents, recent: row.boolean()? })
}

const STATES: [RefundState; 4] =
    [RefundState::Requested, RefundState::Sent, RefundState::Succeeded, RefundState::Failed];

fn state_name(state: RefundState) -> &'static str {
    match state {
        RefundState::Requested => "REQUESTED",
        RefundState::Sent => "SENT",
        RefundState::Succeeded => "SUCCEEDED",
        RefundState::Failed => "FAILED",
    }
}

fn state(text: &str) -> Result<RefundState, souk_database::Error> {
    STATES.into_iter().find(|state| state_name(*state) == text).ok_or_else(|| {
        eprintln!("database: a refund has an unknown state");
        souk_database::Error::Internal
    })
}

#[cfg(test)]
mod tests;
