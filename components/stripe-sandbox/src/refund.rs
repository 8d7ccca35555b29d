//! `POST /v1/refunds`: refunds a payment in part or in full, and stores the events that Stripe would send.
//!
//! The key, the rest of the payment and the events are in one transaction: the same key never refunds twice, and two
//! concurrent refunds never exceed the payment.

use crate::event;
use crate::form;
use crate::object;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::session::Refund;
use crate::store::{self, Delivery, Fault, Run};
use crate::{db, ids, settings, sql};
use serde_json::json;
use spin_sdk::sqlite::Value;

/// The outcome of a request for a refund.
#[derive(Debug, PartialEq)]
pub(crate) enum RefundOutcome {
    /// A new refund, or the one that was made with the same key before.
    Refund(Refund),
    /// The charge is unknown.
    NoCharge,
    /// Less than the amount is left of the charge.
    TooMuch,
    /// Its customer disputes it, or has won.
    Disputed,
    /// The key was used with other parameters.
    KeyReused,
}

/// Answers the request. The events are stored; the caller sends them.
pub(crate) fn create(body: &[u8], key: Option<&str>) -> Result<Reply, Refusal> {
    let new = form::refund(body)?;
    let public_url = settings::public_url().ok_or_else(Refusal::internal)?;
    let made =
        db::transaction(|run| make(run, &ids::new("re_"), key, &new, &public_url, ids::now(), || ids::new("evt_")));
    match made.map_err(|_| Refusal::internal())? {
        RefundOutcome::Refund(refund) => Ok(Reply::json(200, &object::refund(&refund))),
        RefundOutcome::NoCharge => {
            let shown: String = new.charge.chars().take(100).collect();
            Err(Refusal::missing("resource_missing", Some("charge"), format!("No such charge: '{shown}'")))
        }
        RefundOutcome::TooMuch => {
            let message = "The refund is larger than the rest of the charge.";
            Err(Refusal::invalid("charge_already_refunded", Some("amount"), message))
        }
        RefundOutcome::Disputed => {
            let message = format!("Charge {} has been charged back; cannot issue a refund.", new.charge);
            Err(Refusal::invalid("charge_disputed", None, message))
        }
        RefundOutcome::KeyReused => Err(Refusal::key_reused(key.unwrap_or_default())),
    }
}

/// Makes a refund, or returns the one that was made with the same key.
pub(crate) fn make(
    run: &mut Run,
    id: &str,
    key: Option<&str>,
    new: &form::NewRefund,
    public_url: &str,
    now: i64,
    event_id: impl Fn() -> String,
) -> Result<RefundOutcome, Fault> {
    let text = |value: &str| Value::Text(value.to_owned());
    let known = match key {
        Some(key) => run(sql::REFUND_OF_KEY, &[text(key)])?.into_iter().next(),
        None => None,
    };
    let Some(session) = store::by_charge(run, &new.charge)? else { return Ok(RefundOutcome::NoCharge) };
    if let Some(row) = known {
        let Ok(
            [
                Value::Text(id),
                Value::Text(digest),
                _,
                Value::Integer(amount),
                Value::Integer(created),
                Value::Text(metadata),
            ],
        ) = <[Value; 6]>::try_from(row.values)
        else {
            return Err(Fault("a refund does not have the columns that the migrations define".into()));
        };
        if digest != new.digest {
            return Ok(RefundOutcome::KeyReused);
        }
        let metadata = serde_json::from_str(&metadata).map_err(|error| Fault(error.to_string()))?;
        let (charge, currency) = (new.charge.clone(), session.currency);
        return Ok(RefundOutcome::Refund(Refund { id, amount, created, charge, currency, metadata }));
    }
    if session.payment.as_ref().is_some_and(|payment| !payment.can_be_refunded()) {
        return Ok(RefundOutcome::Disputed);
    }
    let left = session.amount - session.payment.as_ref().map_or(0, |payment| payment.refunded);
    let amount = new.amount.unwrap_or(left);
    let Some(session) = store::refund_part(run, &session.id, amount)? else { return Ok(RefundOutcome::TooMuch) };
    let metadata = json!(new.metadata).to_string();
    let parameters = [
        text(id),
        text(&session.id),
        key.map_or(Value::Null, text),
        text(&new.digest),
        Value::Integer(amount),
        Value::Integer(now),
        text(&metadata),
    ];
    run(sql::ADD_REFUND, &parameters)?;
    let refund = Refund {
        id: id.to_owned(),
        amount,
        created: now,
        charge: new.charge.clone(),
        currency: session.currency.clone(),
        metadata: new.metadata.clone(),
    };
    let mut events = event::refunded(&session, public_url, now, &event_id);
    events.push(event::refund_created(&refund, now, event_id()));
    store::add_events(run, &session.id, events, Delivery::Once)?;
    Ok(RefundOutcome::Refund(refund))
}
