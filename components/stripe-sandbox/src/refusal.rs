//! Refusals of the API, in Stripe's shape: `{"error": {type, message, param, code}}`.

use crate::reply::Reply;
use serde::Serialize;

/// Why a request of the API was refused.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    pub status: u16,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a Refusal,
}

impl Refusal {
    /// A parameter is wrong; `code` may be empty.
    pub(crate) fn invalid(code: &'static str, param: Option<&str>, message: impl Into<String>) -> Self {
        let param = param.map(str::to_owned);
        Refusal { status: 400, kind: "invalid_request_error", code, param, message: message.into() }
    }

    /// The request has no key. The sandbox accepts any key, but it requires one, as Stripe does.
    pub(crate) fn no_key() -> Self {
        let message = "You did not provide an API key. Use bearer authentication: 'Authorization: Bearer YOUR_KEY'.";
        Refusal { status: 401, ..Self::invalid("", None, message) }
    }

    /// An unknown object, or an unknown URL.
    pub(crate) fn missing(code: &'static str, param: Option<&str>, message: impl Into<String>) -> Self {
        Refusal { status: 404, ..Self::invalid(code, param, message) }
    }

    /// An idempotency key was used with other parameters before.
    pub(crate) fn key_reused(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Refusal { kind: "idempotency_error", ..Self::invalid("", None, message) }
    }

    /// An error of the sandbox itself; the log has the details.
    pub(crate) fn internal() -> Self {
        let message = "The sandbox could not do this; its log says why.";
        Refusal { status: 500, kind: "api_error", ..Self::invalid("", None, message) }
    }

    /// The response.
    pub(crate) fn into_reply(self) -> Reply {
        Reply::json(self.status, &Body { error: &self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: Refusal) -> String {
        String::from_utf8(refusal.into_reply().body.to_vec()).unwrap()
    }

    #[test]
    fn a_refusal_has_stripes_shape() {
        assert_eq!(
            body(Refusal::invalid("amount_too_large", Some("line_items"), "Too much")),
            r#"{"error":{"type":"invalid_request_error","code":"amount_too_large","param":"line_items","message":"Too much"}}"#
        );
        assert_eq!(
            body(Refusal::invalid("", None, "No")),
            r#"{"error":{"type":"invalid_request_error","message":"No"}}"#
        );
        assert!(body(Refusal::key_reused("k")).starts_with(r#"{"error":{"type":"idempotency_error","#));
    }
}
