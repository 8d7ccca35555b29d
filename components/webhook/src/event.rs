//! Reads the provider's events, and translates them for the orders.
//!
//! An event is read in steps, each only as far as needed: first its id and type; then, for a type that is handled,
//! whether it names an order; then the rest. So an event that does not concern us is never refused for its form, and
//! unknown fields do no harm. Amounts are whole numbers of minor units: a fraction is refused, never rounded.
//!
//! Stripe's own crates have types for all of this, but they would cost 24 seconds of compilation and three megabytes of
//! component, for a dozen fields.

use crate::bindings::payment_events::{Charge, DisputeChange, ExpiredSession, RefundChange, RefundOutcome};
use crate::bindings::{DisputeState, Money};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// The message of the NestJS system for a text that ends too early.
pub(crate) const UNEXPECTED_END: &str = "Unexpected end of JSON input";

/// An event of the provider.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    /// Its id; two messages with the same id are the same event.
    pub id: String,
    /// Its type, such as `charge.succeeded`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Why a body is not an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The body is empty.
    Empty,
    /// The reason, for the sender.
    Text(String),
}

/// An event, translated for the orders.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    /// A charge was captured.
    Succeeded(Charge),
    /// A charge was refunded, in part or in full.
    Refunded(Charge),
    /// A payment page ended without a payment.
    Expired(ExpiredSession),
    /// A refund of the store has a new state.
    Refund(RefundChange),
    /// A charge is disputed, or its dispute has a new state.
    Dispute(DisputeChange),
}

/// Why an event is not passed to the orders.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unmapped {
    /// It does not concern our orders, or no money has moved; the text says which.
    NotOurs(&'static str),
    /// It concerns them, or may concern them, but cannot be read; the text says why.
    Unreadable(String),
}

impl<'a> Event<'a> {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it is not a JSON object with an id and a type.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.is_empty() {
            return Err(Malformed::Empty);
        }
        let no_event = || Malformed::Text("Not an event: an object with `id` and `type` is expected".to_owned());
        let event: Event<'_> = serde_json::from_slice(body).map_err(|e| match e.classify() {
            Category::Eof => Malformed::Text(UNEXPECTED_END.to_owned()),
            Category::Syntax | Category::Io => Malformed::Text(format!("Malformed JSON: {e}")),
            Category::Data => no_event(),
        })?;
        // The derived code also accepts an array, with the fields in sequence.
        if !body.trim_ascii_start().starts_with(b"{") || event.id.is_empty() || event.kind.is_empty() {
            return Err(no_event());
        }
        Ok(event)
    }

    /// Translates the event for the orders.
    ///
    /// # Errors
    /// When the event does not concern them.
    pub(crate) fn notice(&self) -> Result<Notice, Unmapped> {
        match self.kind.as_str() {
            "charge.succeeded" => self.charge(None).map(Notice::Succeeded),
            "charge.refunded" => self.refund().map(Notice::Refunded),
            // A payment can take days and then fail. Nobody can pay on its page again.
            "checkout.session.expired" | "checkout.session.async_payment_failed" => self.session().map(Notice::Expired),
            "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
                self.refund_change().map(Notice::Refund)
            }
            "charge.dispute.created"
            | "charge.dispute.updated"
            | "charge.dispute.closed"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated" => self.dispute().map(Notice::Dispute),
            _ => Err(Unmapped::NotOurs("its type is not handled")),
        }
    }

    fn refund(&self) -> Result<Charge, Unmapped> {
        let (object, _) = self.object()?;
        // A refund without an amount must not be read as a refund of zero.
        let RefundObject { amount_refunded } = read(object, "data.object")?;
        self.charge(Some(amount_refunded))
    }

    fn charge(&self, refunded: Option<u64>) -> Result<Charge, Unmapped> {
        let (object, order_id) = self.object()?;
        let charge: ChargeObject = read(object, "data.object")?;
        // The charge is only authorized, or still in progress: no money has moved. Recorded events lack both fields.
        if charge.captured == Some(false) || charge.status.as_ref().is_some_and(|status| status != "succeeded") {
            return Err(Unmapped::NotOurs("its charge was not captured"));
        }
        Ok(Charge {
            event_id: self.id.clone(),
            charge_id: charge.id,
            order_id,
            amount: Money {
                cents: charge.amount_captured.unwrap_or(charge.amount),
                currency: charge.currency.to_ascii_lowercase(),
            },
            refunded_cents: refunded.or(charge.amount_refunded).unwrap_or(0),
            receipt_url: charge.receipt_url.filter(|url| !url.is_empty()),
            at: self.at()?,
        })
    }

    fn session(&self) -> Result<ExpiredSession, Unmapped> {
        let (object, order_id) = self.object()?;
        let SessionObject { id } = read(object, "data.object")?;
        Ok(ExpiredSession { event_id: self.id.clone(), session_id: id, order_id })
    }

    fn refund_change(&self) -> Result<RefundChange, Unmapped> {
        let (object, order_id) = self.object()?;
        let refund: StoreRefund = read(object, "data.object")?;
        let Some(refund_id) = refund.metadata.refund_id.filter(|id| !id.is_empty()) else {
            return Err(Unmapped::NotOurs("its refund was not made by the store"));
        };
        let outcome = match refund.status.as_str() {
            "succeeded" => RefundOutcome::Succeeded,
            "failed" | "canceled" => RefundOutcome::Failed,
            _ => RefundOutcome::Pending,
        };
        let failure = refund.failure_reason.filter(|_| outcome == RefundOutcome::Failed);
        Ok(RefundChange { event_id: self.id.clone(), refund_id, order_id, outcome, failure })
    }

    /// A dispute does not have the metadata of its charge, so it names no order.
    fn dispute(&self) -> Result<DisputeChange, Unmapped> {
        let dispute: DisputeObject = read(self.data_object()?, "data.object")?;
        let state = match dispute.status.as_str() {
            "won" | "warning_closed" | "prevented" => DisputeState::Won,
            "lost" => DisputeState::Lost,
            _ => DisputeState::Open,
        };
        Ok(DisputeChange {
            event_id: self.id.clone(),
            dispute_id: dispute.id,
            charge_id: dispute.charge,
            cents: dispute.amount,
            state,
            reason: dispute.reason,
            at: self.at()?,
        })
    }

    fn data_object(&self) -> Result<&'a RawValue, Unmapped> {
        let data = self.data.ok_or_else(|| Unmapped::Unreadable("it has no data".to_owned()))?;
        read(data, "data").map(|Data { object }| object)
    }

    /// The object of the event, and the id of its order.
    fn object(&self) -> Result<(&'a RawValue, String), Unmapped> {
        let object = self.data_object()?;
        let Tagged { metadata } = read(object, "data.object")?;
        match metadata.and_then(|metadata| metadata.order_id).filter(|id| !id.is_empty()) {
            Some(order_id) => Ok((object, order_id)),
            None => Err(Unmapped::NotOurs("its metadata names no order")),
        }
    }

    /// The time of the event, with the milliseconds that the contract requires and the provider does not send.
    fn at(&self) -> Result<String, Unmapped> {
        let created = self.created.ok_or_else(|| Unmapped::Unreadable("it has no time (`created`)".to_owned()))?;
        let seconds: u32 = read(created, "created")?;
        let at = OffsetDateTime::from_unix_timestamp(seconds.into())
            .map_err(|e| Unmapped::Unreadable(format!("created: {e}")))?;
        let (date, time) = (at.date(), at.time());
        Ok(format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        ))
    }
}

/// Reads a part of an event; `place` is its name in the log.
fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, place: &str) -> Result<T, Unmapped> {
    serde_json::from_str(raw.get()).map_err(|e| Unmapped::Unreadable(format!("{place}: {e}")))
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Any object; the store adds the metadata to its own.
#[derive(Deserialize)]
struct Tagged {
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "orderId")]
    order_id: Option<String>,
}

#[derive(Deserialize)]
struct ChargeObject {
    id: String,
    /// The amount of the charge.
    amount: u64,
    /// The captured amount; recorded events do not have it.
    amount_captured: Option<u64>,
    captured: Option<bool>,
    status: Option<String>,
    amount_refunded: Option<u64>,
    currency: String,
    receipt_url: Option<String>,
}

#[derive(Deserialize)]
struct RefundObject {
    amount_refunded: u64,
}

/// A refund that may have been made by the store.
#[derive(Deserialize)]
struct StoreRefund {
    status: String,
    failure_reason: Option<String>,
    metadata: RefundMetadata,
}

#[derive(Deserialize)]
struct RefundMetadata {
    #[serde(rename = "refundId")]
    refund_id: Option<String>,
}

#[derive(Deserialize)]
struct DisputeObject {
    id: String,
    charge: String,
    amount: u64,
    status: String,
    reason: String,
}

#[derive(Deserialize)]
struct SessionObject {
    id: String,
}

#[cfg(test)]
mod tests;
