//! All answers of this component, in the shapes of the NestJS system.
//!
//! A `text/html` answer contains nothing of the request: its texts are constants.

use serde::Serialize;
use souk_web::Response;
use spin_sdk::wasip3::http::types::Method;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// After how many seconds the sender should try again during an outage.
const RETRY_AFTER: &str = "1";

/// An answer, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    retry_after: bool,
}

impl Reply {
    /// 200: the event will not be sent again. The answer repeats the provider's signature, as in the NestJS system.
    pub(crate) fn acknowledged(signature: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            sig: &'a str,
        }
        Reply::json(200, &Body { sig: signature })
    }

    /// 400 of the webhook itself, with the message `text` of the provider's library.
    pub(crate) fn webhook_error(text: &'static str) -> Self {
        let body = format!("Webhook Error: {text}").into_bytes();
        Reply { status: 400, content_type: HTML, body, retry_after: false }
    }

    /// 400 for a body that cannot be used.
    pub(crate) fn bad_request(message: &str) -> Self {
        Reply::json(400, &Http { message, error: "Bad Request", status_code: 400 })
    }

    /// 404 for a method and a path without a route.
    pub(crate) fn no_route(method: &str, target: &str) -> Self {
        let message = format!("Cannot {method} {target}");
        Reply::json(404, &Http { message: &message, error: "Not Found", status_code: 404 })
    }

    /// An error of reading the HTTP body.
    pub(crate) fn protocol(status: u16, message: &str) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            status_code: u16,
            message: &'a str,
        }
        Reply::json(status, &Body { status_code: status, message })
    }

    /// 500: something is wrong here, and the log says what.
    pub(crate) fn internal() -> Self {
        Reply::protocol(500, "Internal server error")
    }

    /// 503: the event was not stored and should come again.
    pub(crate) fn unavailable() -> Self {
        #[derive(Serialize)]
        struct Body {
            status: u16,
            message: &'static str,
        }
        let body = Body { status: 503, message: "Payment events cannot be taken now, please try again" };
        Reply { retry_after: true, ..Reply::json(503, &body) }
    }

    fn json(status: u16, body: &impl Serialize) -> Self {
        // Strings and numbers always serialize; even an empty body would still carry the status.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Reply { status, content_type: JSON, body, retry_after: false }
    }

    /// The response to a request with this method.
    pub(crate) fn send(self, method: &Method) -> Response {
        let mut headers = vec![
            ("content-type".to_owned(), self.content_type.into()),
            // With its length the body goes out in one write with the headers, not in chunks.
            ("content-length".to_owned(), self.body.len().to_string().into_bytes()),
            // Nobody revalidates a webhook's answer, but the answers of the NestJS system have entity tags.
            ("etag".to_owned(), souk_web::etag::of(&self.body).into_bytes()),
        ];
        if self.retry_after {
            headers.push(("retry-after".to_owned(), RETRY_AFTER.into()));
        }
        let body = (!matches!(method, Method::Head)).then_some(self.body);
        Response::new(self.status, headers, body)
    }
}

/// The shape of errors of the NestJS system's framework.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    message: &'a str,
    error: &'static str,
    status_code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> (u16, &str, &str) {
        (reply.status, reply.content_type, std::str::from_utf8(&reply.body).unwrap())
    }

    #[test]
    fn the_signature_goes_back_as_json() {
        let reply = Reply::acknowledged("t=1,v1=\"a\"");
        assert_eq!(text(&reply), (200, JSON, r#"{"sig":"t=1,v1=\"a\""}"#));
    }

    #[test]
    fn refusals_have_the_recorded_shapes_and_key_order() {
        let shapes = [
            (Reply::webhook_error("No"), (400, HTML, "Webhook Error: No")),
            (Reply::bad_request("no"), (400, JSON, r#"{"message":"no","error":"Bad Request","statusCode":400}"#)),
            (
                Reply::no_route("GET", "/payments/webhook"),
                (404, JSON, r#"{"message":"Cannot GET /payments/webhook","error":"Not Found","statusCode":404}"#),
            ),
            (Reply::protocol(413, "large"), (413, JSON, r#"{"statusCode":413,"message":"large"}"#)),
            (Reply::internal(), (500, JSON, r#"{"statusCode":500,"message":"Internal server error"}"#)),
            (
                Reply::unavailable(),
                (503, JSON, r#"{"status":503,"message":"Payment events cannot be taken now, please try again"}"#),
            ),
        ];
        for (reply, expected) in &shapes {
            assert_eq!(text(reply), *expected);
            assert_eq!(reply.retry_after, expected.0 == 503, "{expected:?}");
        }
    }
}
