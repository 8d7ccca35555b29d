//! Reads Stripe's answers, as far as the contract needs them.
//!
//! Requests are built with async-stripe's types, but answers are read with small structs.
//! `stripe_shared::CheckoutSession` names every object that a session can contain, down to subscriptions and issuing
//! cards, and it refuses the whole answer when one of hundreds of fields has changed. The structs here have about a
//! dozen fields, and make the component 0.9 MB large instead of 10.3 MB.

use crate::bindings::checkout::{Payment, Session, SessionState};
use crate::bindings::refunds::{ChargeRefunds, KnownRefund, RefundOutcome};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Deserialize)]
struct CheckoutSession {
    id: String,
    url: Option<String>,
    success_url: Option<String>,
    cancel_url: Option<String>,
    /// Seconds since 1970.
    expires_at: i64,
}

#[derive(Deserialize)]
struct SessionStatus {
    status: Option<String>,
    payment_status: String,
    payment_intent: Option<PaymentIntent>,
}

/// What a customer who comes back from the payment page may know about it.
#[derive(Debug)]
pub(crate) struct Landed {
    /// The id of its order.
    pub order: Option<String>,
    /// Whether it was paid.
    pub paid: bool,
}

#[derive(Deserialize)]
struct LandedSession {
    payment_status: String,
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
}

/// Reads what a customer who comes back may know about a session.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub(crate) fn landed(body: &[u8]) -> Result<Landed, String> {
    let mut session: LandedSession = parse(body)?;
    Ok(Landed { order: session.metadata.remove("orderId"), paid: session.payment_status == "paid" })
}

#[derive(Deserialize)]
struct PaymentIntent {
    status: Option<String>,
    latest_charge: Option<Charge>,
}

#[derive(Deserialize)]
struct Refund {
    id: String,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    amount_captured: u64,
    amount_refunded: u64,
    currency: String,
    receipt_url: Option<String>,
}

/// The created session. If Stripe does not repeat the return URLs, they are the ones that were sent.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub(crate) fn session(body: &[u8], success_url: &str, cancel_url: &str) -> Result<Session, String> {
    let session: CheckoutSession = parse(body)?;
    let expires_at = OffsetDateTime::from_unix_timestamp(session.expires_at)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .ok_or("`expires_at` is not a time")?;
    Ok(Session {
        id: session.id,
        url: session.url.ok_or("`url` is missing: the session is not open")?,
        success_url: session.success_url.unwrap_or_else(|| success_url.to_owned()),
        cancel_url: session.cancel_url.unwrap_or_else(|| cancel_url.to_owned()),
        expires_at,
    })
}

/// The provider's id of a created refund. The outcome of the refund comes with its events.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub(crate) fn refund(body: &[u8]) -> Result<String, String> {
    parse(body).map(|Refund { id }| id)
}

#[derive(Deserialize)]
struct RefundList {
    data: Vec<ListedRefund>,
}

#[derive(Deserialize)]
struct ListedRefund {
    charge: Charge,
    status: Option<String>,
    failure_reason: Option<String>,
    #[serde(default)]
    metadata: RefundMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefundMetadata {
    refund_id: Option<String>,
}

/// The refunds of a charge: all of them are in the payment's sum, and those that the store asked for are listed.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub(crate) fn refunds(body: &[u8]) -> Result<ChargeRefunds, String> {
    let list: RefundList = parse(body)?;
    let (mut payment, mut refunds) = (None, Vec::new());
    for refund in list.data {
        let outcome = match refund.status.as_deref() {
            Some("succeeded") => RefundOutcome::Succeeded,
            Some("failed" | "canceled") => RefundOutcome::Failed,
            _ => RefundOutcome::Pending,
        };
        let failure = refund.failure_reason.filter(|_| outcome == RefundOutcome::Failed);
        refunds.extend(refund.metadata.refund_id.map(|refund_id| KnownRefund { refund_id, outcome, failure }));
        payment = Some(refund.charge.into());
    }
    Ok(ChargeRefunds { payment, refunds })
}

impl From<Charge> for Payment {
    fn from(charge: Charge) -> Payment {
        Payment {
            charge_id: charge.id,
            amount: charge.amount_captured,
            currency: charge.currency,
            refunded: charge.amount_refunded,
            receipt_url: charge.receipt_url,
        }
    }
}

/// The state of a session. A session with a payment in progress (a bank transfer takes days) counts as open. When that
/// payment has failed, the session counts as expired, because nobody can pay on it again.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub(crate) fn state(body: &[u8]) -> Result<SessionState, String> {
    let session: SessionStatus = parse(body)?;
    if session.payment_status == "paid" {
        let charge = session
            .payment_intent
            .and_then(|intent| intent.latest_charge)
            .ok_or("the session is paid, and `payment_intent.latest_charge` is missing")?;
        return Ok(SessionState::Paid(charge.into()));
    }
    let failed = session.payment_intent.and_then(|intent| intent.status);
    let failed = failed.is_some_and(|status| matches!(status.as_str(), "requires_payment_method" | "canceled"));
    let complete = session.status.as_deref() == Some("complete");
    Ok(if session.status.as_deref() == Some("expired") || complete && failed {
        SessionState::Expired
    } else {
        SessionState::Open
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_whatever_other_fields_it_has() {
        let body =
            br#"{"id":"cs_test_1","object":"checkout.session","url":"https://checkout.stripe.com/c/pay/cs_test_1",
            "success_url":"https://a/ok","cancel_url":null,"expires_at":1700086400,"new":{"field":[1]},
            "payment_intent":null,"status":"open","payment_status":"unpaid"}"#;
        let session = session(body, "https://b/ok", "https://b/no").unwrap();
        assert_eq!(
            (session.id.as_str(), session.url.as_str()),
            ("cs_test_1", "https://checkout.stripe.com/c/pay/cs_test_1")
        );
        assert_eq!((session.success_url.as_str(), session.cancel_url.as_str()), ("https://a/ok", "https://b/no"));
        assert_eq!(session.expires_at, "2023-11-15T22:13:20Z");
    }

    #[test]
    fn a_session_without_a_page_or_of_another_shape_is_an_error_and_not_a_panic() {
        for body in [
            r#"{"id":"cs_1","url":null,"expires_at":1700086400}"#,
            r#"{"id":"cs_1","url":"u","expires_at":9223372036854775807}"#,
            r#"{"id":"cs_1","url":"u"}"#,
            "[]",
            "<html>",
            "",
        ] {
            assert!(session(body.as_bytes(), "s", "c").is_err(), "{body}");
        }
    }

    #[test]
    fn a_paid_session_has_its_charge() {
        let body = br#"{"status":"complete","payment_status":"paid","payment_intent":{"id":"pi_1","latest_charge":
            {"id":"ch_1","amount":30000,"amount_captured":30000,"amount_refunded":100,"currency":"usd","receipt_url":null}}}"#;
        let SessionState::Paid(payment) = state(body).unwrap() else { unreachable!() };
        assert_eq!((payment.charge_id.as_str(), payment.currency.as_str()), ("ch_1", "usd"));
        assert_eq!((payment.amount, payment.refunded, payment.receipt_url), (30000, 100, None));
    }

    #[test]
    fn an_unpaid_session_is_open_until_it_has_expired() {
        let state = |status, payment| {
            state(format!(r#"{{"status":{status},"payment_status":"{payment}","payment_intent":null}}"#).as_bytes())
        };
        assert!(matches!(state("\"open\"", "unpaid"), Ok(SessionState::Open)));
        assert!(matches!(state("\"complete\"", "unpaid"), Ok(SessionState::Open)));
        assert!(matches!(state("\"expired\"", "unpaid"), Ok(SessionState::Expired)));
        assert!(state("\"complete\"", "paid").is_err());
    }

    #[test]
    fn a_delayed_payment_that_failed_ends_its_page() {
        let state = |status: &str, intent: &str| {
            let intent = format!(r#"{{"status":"{intent}","latest_charge":null}}"#);
            let body = format!(r#"{{"status":"{status}","payment_status":"unpaid","payment_intent":{intent}}}"#);
            state(body.as_bytes()).unwrap()
        };
        assert!(matches!(state("complete", "processing"), SessionState::Open));
        assert!(matches!(state("complete", "requires_payment_method"), SessionState::Expired));
        assert!(matches!(state("complete", "canceled"), SessionState::Expired));
        // Nobody has tried to pay yet.
        assert!(matches!(state("open", "requires_payment_method"), SessionState::Open));
    }

    #[test]
    fn refunds_of_a_charge_are_read_and_those_of_others_count_in_its_sum_alone() {
        let charge = r#"{"id":"ch_1","amount_captured":300,"amount_refunded":250,"currency":"usd","receipt_url":null}"#;
        let refund = |status: &str, failure: &str, metadata: &str| {
            format!(
                r#"{{"id":"re","charge":{charge},"status":{status},"failure_reason":{failure},"metadata":{metadata}}}"#
            )
        };
        let list = [
            refund("\"succeeded\"", "null", r#"{"orderId":"o","refundId":"r-1"}"#),
            refund("\"canceled\"", "\"expired_or_canceled_card\"", r#"{"refundId":"r-2"}"#),
            refund("\"requires_action\"", "\"unknown\"", r#"{"refundId":"r-3"}"#),
            refund("\"succeeded\"", "null", "{}"),
        ];
        let found = refunds(format!(r#"{{"object":"list","data":[{}]}}"#, list.join(",")).as_bytes()).unwrap();
        assert_eq!(found.payment.unwrap().refunded, 250);
        let found: Vec<_> =
            found.refunds.iter().map(|r| (r.refund_id.as_str(), r.outcome, r.failure.as_deref())).collect();
        let failed = ("r-2", RefundOutcome::Failed, Some("expired_or_canceled_card"));
        assert_eq!(found, [("r-1", RefundOutcome::Succeeded, None), failed, ("r-3", RefundOutcome::Pending, None)]);
        let none = refunds(br#"{"object":"list","data":[]}"#).unwrap();
        assert!(none.payment.is_none() && none.refunds.is_empty());
        assert!(refunds(br#"{"data":[{"charge":"ch_1"}]}"#).is_err(), "the charge is not expanded");
    }

    #[test]
    fn a_negative_amount_is_an_error() {
        let body = br#"{"payment_status":"paid","payment_intent":{"latest_charge":
            {"id":"ch_1","amount_captured":-1,"amount_refunded":0,"currency":"usd"}}}"#;
        assert!(state(body).is_err());
    }
}
