//! `payment.succeeded`: the event of the system's payment service about a charge.
//!
//! It contains only the charge and the order, without an amount or an event id. So the amount is that of the order (the
//! service creates payment pages for no other amount), the event's id is made from the charge and the order, and its time
//! is the time of arrival. A repeated event therefore has the same id. If a charge is reported for a second order, that is
//! another event, which the orders reject: an operator must look at it.

use crate::bindings::events::DeliveryError;
use crate::bindings::orders::{self, Actor};
use crate::bindings::payment_events::{self, Charge};
use serde::Deserialize;
use time::OffsetDateTime;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    stripe_charge_id: String,
    #[serde(default)]
    order_id: Option<String>,
    #[serde(default)]
    receipt_url: Option<String>,
}

/// Tells the orders of a payment.
pub(crate) fn payment_succeeded(data: &str) -> Result<(), DeliveryError> {
    let payment: Payment =
        souk_nest::read(data).map_err(|problem| DeliveryError::Reject(format!("the event does not fit: {problem}")))?;
    let Some(order_id) = payment.order_id else {
        println!("charge {:?} names no order, and is passed over", payment.stripe_charge_id);
        return Ok(());
    };
    let amount = match orders::get(&Actor::Anyone, &order_id) {
        Ok(order) => order.total,
        Err(orders::Error::NotFound) => return Err(DeliveryError::Reject(format!("there is no order {order_id:?}"))),
        Err(orders::Error::Unavailable(text)) => return Err(DeliveryError::Retry(text)),
        Err(error) => return Err(DeliveryError::Retry(format!("the orders do not tell the order's total: {error:?}"))),
    };
    let charge = Charge {
        event_id: format!("payment.succeeded:{}:{order_id}", payment.stripe_charge_id),
        charge_id: payment.stripe_charge_id,
        order_id,
        amount,
        refunded_cents: 0,
        receipt_url: payment.receipt_url,
        at: souk_nest::timestamp(OffsetDateTime::now_utc()),
    };
    payment_events::payment_succeeded(&charge).map_err(|error| match error {
        payment_events::DeliveryError::Retry(text) => DeliveryError::Retry(text),
        payment_events::DeliveryError::Reject(text) => DeliveryError::Reject(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_lack_order_and_receipt() {
        let read = |text| serde_json::from_str::<Payment>(text).unwrap();
        let all = read(r#"{"stripeChargeId":"ch_1","orderId":"o","receiptUrl":"https://pay.stripe.com/r"}"#);
        assert_eq!(
            (all.order_id.as_deref(), all.receipt_url.as_deref()),
            (Some("o"), Some("https://pay.stripe.com/r"))
        );
        let bare = read(r#"{"stripeChargeId":"ch_1","receiptUrl":null}"#);
        assert_eq!((bare.order_id, bare.receipt_url), (None, None));
    }
}
