//! Error responses that the HTTP server creates itself.

use super::body::EdgeBody;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Body as _;
use serde::Serialize;
use souk_bindings::Exception;
use souk_runtime::{CallError, Failure};

#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    message: &'a str,
    /// For the component's developer, with `souk up --dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// `{"status": .., "message": ..}` with `status`.
pub(super) fn response(status: StatusCode, message: &str) -> Response<EdgeBody> {
    explained(status, message, None)
}

/// The same with a `reason`, if given.
fn explained(status: StatusCode, message: &str, reason: Option<&str>) -> Response<EdgeBody> {
    // Numbers and strings always convert to JSON; and an empty body would still have the status.
    let body = serde_json::to_vec(&Problem { status: status.as_u16(), message, reason }).unwrap_or_default();
    let mut response = Response::new(EdgeBody::full(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    // The request may be private, and without this a cache may store a 404 (RFC 9110, section 15.1).
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The response for a failed call of a component; with `in_full`, it contains the log's details.
pub(super) fn from_call(error: &CallError, in_full: bool) -> Response<EdgeBody> {
    let reason = in_full.then_some(error.detail.as_str()).filter(|detail| !detail.is_empty());
    explained(status(error.failure), &error.message(), reason)
}

/// The answer of `component`. Where its SDK caught an exception and answered 500 without a body, `in_full` puts the
/// exception there.
pub(super) fn of_exception(response: Response<EdgeBody>, component: &str, in_full: bool) -> Response<EdgeBody> {
    let exception = response.extensions().get::<Exception>().filter(|_| in_full).cloned();
    match exception {
        Some(exception) if response.body().size_hint().exact() == Some(0) => {
            explained(response.status(), &format!("{component} failed"), Some(exception.text()))
        }
        _ => response,
    }
}

/// The status for a failed call.
pub(crate) fn status(failure: Failure) -> StatusCode {
    match failure {
        Failure::Overloaded | Failure::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Failure::TooManyHops => StatusCode::LOOP_DETECTED,
        Failure::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Lost | Failure::ResponseTooLarge => StatusCode::BAD_GATEWAY,
        Failure::Trapped | Failure::Instantiation | Failure::NotExported | Failure::Mismatch => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn no_cache_stores_an_error_and_no_browser_guesses_its_type() {
        for status in [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE] {
            let response = response(status, "it failed");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{status}");
            assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff", "{status}");
        }
    }

    #[tokio::test]
    async fn an_empty_answer_500_gets_the_exception_for_a_developer() {
        // What the host finds in a guest's output is tested where it reads it.
        let answer = |body: &'static str| {
            let mut response = Response::new(EdgeBody::full(Bytes::from_static(body.as_bytes())));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response.extensions_mut().insert(Exception::new("ValueError: boom"));
            response
        };
        let text = async |response: Response<EdgeBody>| {
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let told = of_exception(answer(""), "web", true);
        assert_eq!(told.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text(told).await, r#"{"status":500,"message":"web failed","reason":"ValueError: boom"}"#);
        assert_eq!(text(of_exception(answer(""), "web", false)).await, "");
        assert_eq!(text(of_exception(answer("its own page"), "web", true)).await, "its own page");
    }
}
