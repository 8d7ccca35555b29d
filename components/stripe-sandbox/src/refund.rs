//! `POST /v1/refunds` refunds a payment in part or in full, and stores the events that Stripe would send; `GET
//! /v1/refunds` lists the refunds of a charge.
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
        RefundOutcome::NoCharge => Err(no_charge(&new.charge)),
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

fn no_charge(id: &str) -> Refusal {
    let shown: String = id.chars().take(100).collect();
    Refusal::missing("resource_missing", Some("charge"), format!("No such charge: '{shown}'"))
}

/// The most refunds of one answer, and how many it has without `limit`, according to Stripe's API reference.
const LIMITS: (i64, i64) = (100, 10);

/// What a list of refunds is asked for with.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    charge: String,
    limit: i64,
    /// Whether each refund has its whole charge, not the charge's id alone.
    with_charge: bool,
}

/// Reads the query of a list.
pub(crate) fn listed(query: &str) -> Result<Listed, Refusal> {
    let (mut charge, mut limit, mut with_charge) = (None, LIMITS.1, false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            ("charge", id) => charge = Some(id.to_owned()),
            ("limit", text) => {
                limit = text.parse().ok().filter(|limit| (1..=LIMITS.0).contains(limit)).ok_or_else(|| {
                    Refusal::invalid("parameter_invalid_integer", Some("limit"), "A limit is a number from 1 to 100")
                })?;
            }
            (name, "data.charge") if name.split('[').next() == Some("expand") => with_charge = true,
            (name, _) if name.split('[').next() == Some("expand") => {
                return Err(Refusal::invalid("", Some("expand"), "The sandbox cannot expand this property"));
            }
            _ => return Err(Refusal::invalid("parameter_unknown", None, "Received an unknown parameter")),
        }
    }
    let charge = charge.ok_or_else(|| {
        Refusal::invalid("parameter_missing", Some("charge"), "The sandbox lists the refunds of one charge")
    })?;
    Ok(Listed { charge, limit, with_charge })
}

/// Answers the request for the refunds of a charge.
pub(crate) fn list(query: &str) -> Result<Reply, Refusal> {
    let listed = listed(query)?;
    let public_url = settings::public_url().ok_or_else(Refusal::internal)?;
    match find(&mut db::query, &listed, &public_url).map_err(|_| Refusal::internal())? {
        Some(list) => Ok(Reply::json(200, &list)),
        None => Err(no_charge(&listed.charge)),
    }
}

/// The list; `None` when there is no such charge.
pub(crate) fn find(run: &mut Run, listed: &Listed, public_url: &str) -> Result<Option<serde_json::Value>, Fault> {
    let Some(session) = store::by_charge(run, &listed.charge)? else { return Ok(None) };
    let Some(payment) = &session.payment else { return Ok(None) };
    let rows = run(sql::REFUNDS_OF_SESSION, &[Value::Text(session.id.clone()), Value::Integer(listed.limit)])?;
    let data = rows.into_iter().map(|row| {
        let Ok([Value::Text(id), Value::Integer(amount), Value::Integer(created), Value::Text(metadata)]) =
            <[Value; 4]>::try_from(row.values)
        else {
            return Err(Fault("a refund does not have the columns that the migrations define".into()));
        };
        let metadata = serde_json::from_str(&metadata).map_err(|error| Fault(error.to_string()))?;
        let (charge, currency) = (listed.charge.clone(), session.currency.clone());
        let mut refund = object::refund(&Refund { id, amount, created, charge, currency, metadata });
        if let (true, Some(charge)) = (listed.with_charge, refund.get_mut("charge")) {
            *charge = object::charge(&session, payment, public_url);
        }
        Ok(refund)
    });
    let data = data.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(json!({ "object": "list", "url": "/v1/refunds", "has_more": false, "data": data })))
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
