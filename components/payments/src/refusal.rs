//! Converts Stripe's refusals into the contract's errors.
//!
//! The error depends on who can fix the problem: the customer, by ordering something else (`invalid`, in our words or,
//! for a card, in Stripe's, which it writes for customers); time (`unavailable`); or the operator of the store
//! (`internal`, with a log line that names the variable). The log gets Stripe's message too, except messages about the
//! key, which quote its end.

use crate::bindings::checkout::Error;
use serde::Deserialize;

/// The most characters of Stripe's message that are logged.
const MAX_LOGGED: usize = 300;

/// `error` in the body of a refusal: <https://docs.stripe.com/api/errors>. Every field may be missing, for example when
/// a proxy answers in Stripe's place.
#[derive(Debug, Default, Deserialize)]
struct ApiError {
    #[serde(default, rename = "type")]
    kind: String,
    code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: ApiError,
}

/// A refusal, for the caller and for the log.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The caller's error.
    pub error: Error,
    /// The text for the log: no key, no personal data.
    pub detail: String,
}

/// The refusal for an answer with this status and body.
pub(crate) fn of(status: u16, body: &[u8]) -> Refusal {
    let error = serde_json::from_slice::<Body>(body).unwrap_or_default().error;
    let code = error.code.as_deref().unwrap_or_default();
    let param = error.param.as_deref().unwrap_or_default();
    let (answer, hint) = match (status, error.kind.as_str()) {
        (401 | 403, _) => {
            (misconfigured(), "check the variable `stripe_secret`: it must be a key that may write checkout sessions")
        }
        // Another request with the same key is in progress. Its type may be the one of a key that is used for two
        // purposes.
        (409, _) if code == "idempotency_key_in_use" => (unavailable(), "it may work later"),
        (409 | 424 | 429 | 500.., kind) if kind != "idempotency_error" => (unavailable(), "it may work later"),
        (_, "card_error") => {
            let message = error.message.as_deref().unwrap_or("The payment was declined");
            (Error::Invalid(message.to_owned()), "")
        }
        (_, "idempotency_error") => (
            misconfigured(),
            "the order's page was requested before with other contents; check whether the return URLs have changed",
        ),
        (404, _) if code == "resource_missing" => (Error::Invalid("there is no such payment page".into()), ""),
        _ => about(code, param),
    };
    let message = match status {
        401 | 403 => "",
        _ => error.message.as_deref().unwrap_or_default(),
    };
    let message: String = message.chars().filter(|c| !c.is_control()).take(MAX_LOGGED).collect();
    let detail = [
        ("status", status.to_string().as_str()),
        ("type", error.kind.as_str()),
        ("code", code),
        ("param", param),
        ("message", &message),
        ("hint", hint),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| format!("{name}: {value}"))
    .collect::<Vec<_>>()
    .join("; ");
    Refusal { error: answer, detail }
}

/// The error for an invalid request, by the field that Stripe names.
fn about(code: &str, param: &str) -> (Error, &'static str) {
    let invalid = |message: &str| (Error::Invalid(message.to_owned()), "");
    match code {
        "amount_too_large" => invalid("The total is more than the payment provider accepts"),
        "charge_already_refunded" => invalid("The payment was refunded already"),
        "charge_disputed" => invalid("The payment is disputed"),
        _ if param == "charge" => invalid("The payment provider does not know the payment"),
        _ if param == "amount" => invalid("The payment provider does not refund that much"),
        "amount_too_small" => invalid("The total is less than the payment provider accepts"),
        _ if param == "success_url" => (misconfigured(), "check the variables `stripe_success_url` and `public_url`"),
        _ if param == "cancel_url" => (misconfigured(), "check the variables `stripe_cancel_url` and `public_url`"),
        _ if param.ends_with("currency") || param.ends_with("[currency]") => {
            (misconfigured(), "check the variable `currency`")
        }
        _ if param.starts_with("line_items") => invalid("The payment provider does not accept an item of this order"),
        _ => (misconfigured(), ""),
    }
}

/// Logs why an answer cannot be read, and returns the error.
pub(crate) fn unreadable(reason: String) -> Error {
    eprintln!("Stripe's answer cannot be read: {reason}");
    Error::Internal("the payment provider's answer could not be read".into())
}

/// The provider does not answer, or cannot answer now.
pub(crate) fn unavailable() -> Error {
    Error::Unavailable("the payment provider does not answer".into())
}

/// An error that the operator of the store must fix.
pub(crate) fn misconfigured() -> Error {
    Error::Internal("the payment provider refused the request".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, error: &str) -> Refusal {
        of(status, format!(r#"{{"error":{error}}}"#).as_bytes())
    }

    fn invalid(refusal: Refusal) -> String {
        let Error::Invalid(message) = refusal.error else { panic!("{refusal:?}") };
        message
    }

    #[test]
    fn the_customer_can_fix_amounts_and_items() {
        let large = r#"{"type":"invalid_request_error","code":"amount_too_large","message":"internal wording"}"#;
        assert_eq!(invalid(refusal(400, large)), "The total is more than the payment provider accepts");
        let small = r#"{"type":"invalid_request_error","code":"amount_too_small"}"#;
        assert_eq!(invalid(refusal(400, small)), "The total is less than the payment provider accepts");
        let item = r#"{"type":"invalid_request_error","param":"line_items[0][price_data][unit_amount]"}"#;
        assert_eq!(invalid(refusal(400, item)), "The payment provider does not accept an item of this order");
        let card = r#"{"type":"card_error","code":"card_declined","message":"Your card was declined."}"#;
        assert_eq!(invalid(refusal(402, card)), "Your card was declined.");
        let missing = r#"{"type":"invalid_request_error","code":"resource_missing","param":"id"}"#;
        assert_eq!(invalid(refusal(404, missing)), "there is no such payment page");
    }

    #[test]
    fn a_refused_key_names_the_variable_and_no_part_of_the_key() {
        for status in [401, 403] {
            let error = r#"{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_***fish"}"#;
            let refusal = refusal(status, error);
            assert!(matches!(refusal.error, Error::Internal(_)));
            assert!(refusal.detail.contains("`stripe_secret`"), "{}", refusal.detail);
            assert!(!refusal.detail.contains("fish"), "{}", refusal.detail);
        }
    }

    #[test]
    fn wrong_settings_name_their_variable() {
        for (param, variable) in [
            ("success_url", "`stripe_success_url`"),
            ("cancel_url", "`stripe_cancel_url`"),
            ("line_items[0][price_data][currency]", "`currency`"),
        ] {
            let refusal = refusal(400, &format!(r#"{{"type":"invalid_request_error","param":"{param}"}}"#));
            assert!(matches!(refusal.error, Error::Internal(_)), "{param}");
            assert!(refusal.detail.contains(variable), "{}", refusal.detail);
        }
    }

    #[test]
    fn temporary_failures_are_unavailable() {
        for status in [409, 424, 429, 500, 502, 503, 504] {
            for body in ["{}", "<html>bad gateway", "", r#"{"error":{"type":"api_error"}}"#] {
                let refusal = of(status, body.as_bytes());
                assert!(matches!(refusal.error, Error::Unavailable(_)), "{status} {body}");
            }
        }
    }

    #[test]
    fn a_key_whose_request_is_in_progress_is_unavailable_and_not_misused() {
        for kind in ["idempotency_error", "invalid_request_error"] {
            let error = format!(r#"{{"type":"{kind}","code":"idempotency_key_in_use"}}"#);
            assert!(matches!(refusal(409, &error).error, Error::Unavailable(_)), "{kind}");
        }
    }

    #[test]
    fn any_other_refusal_is_internal() {
        for (status, body) in [
            (400, "{}"),
            (301, ""),
            (404, "not Stripe"),
            (400, r#"{"error":{"type":"idempotency_error","message":"Keys for idempotent requests ..."}}"#),
            (409, r#"{"error":{"type":"idempotency_error"}}"#),
            (400, r#"{"error":{"type":"invalid_request_error","param":"mode"}}"#),
        ] {
            assert!(matches!(of(status, body.as_bytes()).error, Error::Internal(_)), "{status} {body}");
        }
    }

    #[test]
    fn the_logged_text_is_one_bounded_line() {
        let long = "x".repeat(10_000);
        let refusal = refusal(400, &format!(r#"{{"type":"a","message":"one\ntwo {long}"}}"#));
        assert!(refusal.detail.len() < 400 && !refusal.detail.contains('\n'), "{}", refusal.detail);
    }
}
