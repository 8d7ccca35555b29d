//! Stripe's objects, as its API and its events show them, with every field that a Stripe library requires.

use crate::session::{Dispute, DisputeState, Payment, Refund, Session, Status};
use serde_json::{Value, json};

/// The version of Stripe's API to which these objects belong.
pub(crate) const VERSION: &str = "2026-09-30.endive";

/// Which parts of a session's payment are included in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Expand {
    Nothing,
    PaymentIntent,
    LatestCharge,
}

/// The URL of the page on which a session is paid.
pub(crate) fn page_url(public_url: &str, session: &Session) -> String {
    format!("{public_url}/stripe-sandbox/pay/{}", session.id)
}

/// A `checkout.session`.
pub(crate) fn session(session: &Session, public_url: &str, expand: Expand) -> Value {
    let payment_intent = session.payment.as_ref().map(|payment| match expand {
        Expand::Nothing => json!(payment.intent),
        _ => self::payment_intent(session, payment, public_url, expand == Expand::LatestCharge),
    });
    json!({
        "id": session.id,
        "object": "checkout.session",
        "amount_subtotal": session.amount,
        "amount_total": session.amount,
        "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
        "cancel_url": session.request.cancel_url,
        "created": session.created,
        "currency": session.currency,
        "custom_fields": [],
        "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
            "terms_of_service_acceptance": null},
        "customer": null,
        "customer_email": null,
        "expires_at": session.expires_at,
        "livemode": false,
        "metadata": session.request.metadata,
        "mode": "payment",
        "payment_intent": payment_intent,
        "payment_method_types": ["card"],
        "payment_status": if session.payment.is_some() { "paid" } else { "unpaid" },
        "shipping_options": [],
        "status": session.status.word(),
        "success_url": session.request.success_url,
        "url": (session.status == Status::Open).then(|| page_url(public_url, session)),
    })
}

/// A `payment_intent` that succeeded.
pub(crate) fn payment_intent(session: &Session, payment: &Payment, public_url: &str, with_charge: bool) -> Value {
    let latest_charge = if with_charge { charge(session, payment, public_url) } else { json!(payment.charge) };
    json!({
        "id": payment.intent,
        "object": "payment_intent",
        "amount": session.amount,
        "amount_capturable": 0,
        "amount_received": session.amount,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "created": payment.paid_at,
        "currency": session.currency,
        "latest_charge": latest_charge,
        "livemode": false,
        "metadata": session.request.payment_metadata,
        "payment_method_types": ["card"],
        "status": "succeeded",
    })
}

/// A captured `charge`.
pub(crate) fn charge(session: &Session, payment: &Payment, public_url: &str) -> Value {
    json!({
        "id": payment.charge,
        "object": "charge",
        "amount": session.amount,
        "amount_captured": session.amount,
        "amount_refunded": payment.refunded,
        "billing_details": {"address": null, "email": null, "name": null, "phone": null, "tax_id": null},
        "captured": true,
        "created": payment.paid_at,
        "currency": session.currency,
        "disputed": payment.dispute.is_some(),
        "livemode": false,
        "metadata": session.request.payment_metadata,
        "outcome": null,
        "paid": true,
        "payment_intent": payment.intent,
        "payment_method": null,
        "receipt_url": format!("{public_url}/stripe-sandbox/receipts/{}", payment.charge),
        "refunded": payment.refunded == session.amount,
        "status": "succeeded",
    })
}

/// A `refund` that has succeeded.
pub(crate) fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "metadata": refund.metadata,
        "reason": null,
        "status": "succeeded",
    })
}

/// A `dispute`. Stripe's own has two dozen empty kinds of evidence more.
pub(crate) fn dispute(session: &Session, payment: &Payment, dispute: &Dispute) -> Value {
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": session.amount,
        "balance_transactions": [],
        "charge": payment.charge,
        "created": dispute.created,
        "currency": session.currency,
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {"due_by": null, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0},
        "is_charge_refundable": dispute.state == DisputeState::Won,
        "livemode": false,
        "metadata": {},
        "payment_intent": payment.intent,
        "reason": "fraudulent",
        "status": dispute.state.word(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{disputed, open, paid};

    const PUBLIC: &str = "http://localhost:3000";

    fn parsed<T: miniserde::Deserialize>(value: &Value) -> T {
        miniserde::json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn stripes_own_types_read_an_open_session() {
        let object: stripe_shared::CheckoutSession = parsed(&session(&open(), PUBLIC, Expand::Nothing));
        assert_eq!(object.url.unwrap(), format!("{PUBLIC}/stripe-sandbox/pay/{}", open().id));
        assert_eq!(object.payment_status.as_str(), "unpaid");
        assert!(object.payment_intent.is_none());
    }

    #[test]
    fn stripes_own_types_read_a_paid_session_down_to_its_receipt() {
        let object: stripe_shared::CheckoutSession = parsed(&session(&paid(), PUBLIC, Expand::LatestCharge));
        assert_eq!((object.url, object.amount_total), (None, Some(15050)));
        let intent = object.payment_intent.unwrap().into_object().unwrap();
        assert_eq!(intent.metadata.get("orderId").unwrap(), "order-1");
        let charge = intent.latest_charge.unwrap().into_object().unwrap();
        assert_eq!((charge.amount_captured, charge.amount_refunded, charge.refunded), (15050, 0, false));
        let receipt = format!("{PUBLIC}/stripe-sandbox/receipts/{}", paid().payment.unwrap().charge);
        assert_eq!(charge.receipt_url.unwrap(), receipt);
    }

    #[test]
    fn stripes_own_types_read_a_dispute() {
        let (session, payment) = (disputed(), disputed().payment.unwrap());
        let object: stripe_shared::Dispute = parsed(&dispute(&session, &payment, payment.dispute.as_ref().unwrap()));
        assert_eq!((object.amount, object.charge.id().as_str()), (15050, "ch_1"));
        assert_eq!((object.status.as_str(), object.is_charge_refundable), ("needs_response", false));
        let charge: stripe_shared::Charge = parsed(&charge(&session, &payment, PUBLIC));
        assert!(charge.disputed);
    }

    #[test]
    fn only_the_requested_parts_are_expanded() {
        let intent = |expand| session(&paid(), PUBLIC, expand).get("payment_intent").unwrap().clone();
        assert!(intent(Expand::Nothing).is_string());
        assert!(intent(Expand::PaymentIntent).get("latest_charge").unwrap().is_string());
    }
}
