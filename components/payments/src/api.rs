//! One request to Stripe's API: sent with a time limit, and retried once where Stripe says that this is safe.
//!
//! A retry is safe because every request that changes something carries an idempotency key: if the first request
//! arrived after all, Stripe answers the second with the same session. async-stripe knows which statuses to retry, and
//! `Stripe-Should-Retry` overrules it. There is only one retry: the caller's client waits, and can try again itself.
//!
//! # A failure that Stripe keeps
//!
//! Stripe keeps the answer to a key for 24 hours, even a failure of its own (a 500), and marks a kept answer with
//! `Idempotent-Replayed`. An order would be stuck on it for a day, so such a request is sent once more with a key that
//! is derived from the first. If the failed request made a session after all, it cannot become a second page to pay on:
//! its address was in no answer, so nobody was sent there. The derived key is always the same, so many callers cannot
//! make a second session with it. A refund never gets a derived key: the first request may have made it.

use crate::bindings::checkout::Error;
use crate::config::Api;
use crate::{bill, refusal};
use souk_web::client::{self, ErrorCode, Method, Request, SendError};
use spin_sdk::wasip3::random::random::get_random_u64;
use std::thread::sleep;
use std::time::Duration;
use stripe_client_core::{IdempotencyKey, Outcome, RequestBuilder, RequestStrategy, StripeMethod, VERSION};

/// How long one try may take, up to the end of the answer. Stripe takes one second for a session.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);
/// The most attempts to send a request.
const MAX_TRIES: u32 = 2;
/// The pause before the second try.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The most milliseconds of random delay that are added to the pause, so that many callers do not come back at once.
const RETRY_JITTER_MS: u64 = 500;
/// The most bytes of an answer: a session with everything expanded has 20 KiB.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The idempotency key of a request.
pub(crate) enum Key<'a> {
    /// No key: a second request changes nothing.
    None,
    /// This key; after a stored failure, a key that is derived from it.
    Again(&'a IdempotencyKey),
    /// This key only.
    Only(&'a IdempotencyKey),
}

/// An answer with any status.
struct Answer {
    status: u16,
    should_retry: Option<bool>,
    /// Whether this is the stored answer to an earlier request with the same key.
    replayed: bool,
    /// Stripe's support finds the request by it.
    request_id: String,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
enum Fault {
    /// Another attempt may help.
    Transient(String),
    /// This component is not allowed to send there, or nothing listens there.
    Misconfigured(String),
}

/// Sends a request and returns the body of an answer with a status of 200 to 299; `purpose` names it in the log.
///
/// # Errors
/// The contract's error for any other answer, and `unavailable` without an answer.
pub(crate) fn send(api: &Api, purpose: &str, request: RequestBuilder, key: Key<'_>) -> Result<Vec<u8>, Error> {
    let (key, only) = match key {
        Key::None => (None, true),
        Key::Again(key) => (Some(key), false),
        Key::Only(key) => (Some(key), true),
    };
    let (mut tries, mut key, mut after_failure) = (0, key.cloned(), only);
    loop {
        tries += 1;
        let outcome = try_once(api, &request, key.as_ref());
        let error = match outcome {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer.body),
            Ok(answer) => {
                let refusal = refusal::of(answer.status, &answer.body);
                eprintln!("Stripe did not {purpose} (try {tries}): {}; request {}", refusal.detail, answer.request_id);
                if !after_failure
                    && is_kept_failure(answer.status, answer.replayed)
                    && let Some(another) = key.as_ref().and_then(bill::key_after_failure)
                {
                    // This attempt does not count, because a stored answer costs no time.
                    (key, after_failure) = (Some(another), true);
                    continue;
                }
                if !retry(Some(answer.status), answer.should_retry, tries) {
                    return Err(refusal.error);
                }
                refusal.error
            }
            Err(Fault::Misconfigured(why)) => {
                eprintln!(
                    "cannot {purpose}: {why}; check `stripe_api_url` and this component's allowed_outbound_hosts"
                );
                return Err(refusal::misconfigured());
            }
            Err(Fault::Transient(why)) => {
                eprintln!("cannot {purpose} (try {tries}): {why}");
                refusal::unavailable()
            }
        };
        if !retry(None, None, tries) {
            return Err(error);
        }
        sleep(backoff(get_random_u64()));
    }
}

/// Whether to send the request again, after `tries` that ended with this status or without one.
fn retry(status: Option<u16>, should_retry: Option<bool>, tries: u32) -> bool {
    RequestStrategy::Retry(MAX_TRIES).test(status, should_retry, tries) != Outcome::Stop
}

/// Whether another request with the same key can only get the same failure, for a day.
fn is_kept_failure(status: u16, replayed: bool) -> bool {
    replayed && status >= 500
}

fn backoff(random: u64) -> Duration {
    RETRY_PAUSE + Duration::from_millis(random % RETRY_JITTER_MS)
}

fn try_once(api: &Api, request: &RequestBuilder, key: Option<&IdempotencyKey>) -> Result<Answer, Fault> {
    let method = match request.method {
        StripeMethod::Get => Method::Get,
        StripeMethod::Post => Method::Post,
        StripeMethod::Delete => Method::Delete,
    };
    let sent = client::send(
        &Request {
            method: &method,
            url: &url(api, request),
            headers: &headers(api, request, key),
            body: request.body.as_deref().map(str::as_bytes),
        },
        TRY_TIMEOUT,
        MAX_ANSWER_BYTES,
    );
    let response = sent.map_err(|error| match error {
        SendError::Host(code) => fault(&code),
        SendError::TimedOut => Fault::Transient(format!("no answer within {} s", TRY_TIMEOUT.as_secs())),
        SendError::TooLarge => Fault::Transient("the answer is too large".into()),
        SendError::Aborted => Fault::Transient("the connection broke during the answer".into()),
    })?;
    let status = response.status;
    if (200..300).contains(&status) {
        // Nobody needs the other headers of a success.
        let (request_id, body) = (String::new(), response.body);
        return Ok(Answer { status, should_retry: None, replayed: false, request_id, body });
    }
    let should_retry = match response.header("stripe-should-retry").as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let replayed = response.header("idempotent-replayed").as_deref() == Some("true");
    let request_id = response.header("request-id").as_deref().unwrap_or("without an id").chars().take(64).collect();
    Ok(Answer { status, should_retry, replayed, request_id, body: response.body })
}

fn url(api: &Api, request: &RequestBuilder) -> String {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/v1{}{query}", api.base, request.path)
}

fn headers(api: &Api, request: &RequestBuilder, key: Option<&IdempotencyKey>) -> Vec<(String, Vec<u8>)> {
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_owned());
    let mut headers = vec![
        header("authorization", api.authorization.as_bytes()),
        header("accept", b"application/json"),
        header("user-agent", concat!("store-payments/", env!("CARGO_PKG_VERSION")).as_bytes()),
        // The version for which the types are made: an account's default may be years older.
        header("stripe-version", VERSION.as_str().as_bytes()),
    ];
    headers.extend(key.map(|key| header("idempotency-key", key.as_str().as_bytes())));
    if let Some(body) = &request.body {
        headers.push(header("content-type", b"application/x-www-form-urlencoded"));
        // Without its length the body would be sent in chunks.
        headers.push(header("content-length", body.len().to_string().as_bytes()));
    }
    headers
}

/// Classifies the host's error for a request without an answer. The host's own log has more detail.
fn fault(error: &ErrorCode) -> Fault {
    let text = error.to_string();
    match error {
        ErrorCode::HttpRequestDenied
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::DestinationNotFound
        | ErrorCode::LoopDetected => Fault::Misconfigured(text),
        _ => Fault::Transient(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn api() -> Api {
        Api { base: "https://api.stripe.com".into(), authorization: HeaderValue::from_static("Bearer sk_1") }
    }

    #[test]
    fn a_request_is_retried_once_where_stripe_allows_it() {
        for (status, should_retry, again) in [
            (None, None, true),
            (Some(409), None, true),
            (Some(429), None, true),
            (Some(500), None, true),
            (Some(503), None, true),
            (Some(503), Some(false), false),
            (Some(409), Some(false), false),
            (Some(409), Some(true), true),
            (Some(400), None, false),
            (Some(401), None, false),
            (Some(402), None, false),
            (Some(404), None, false),
        ] {
            assert_eq!(retry(status, should_retry, 1), again, "{status:?} {should_retry:?}");
            assert!(!retry(status, should_retry, 2), "{status:?} {should_retry:?}");
        }
    }

    #[test]
    fn only_a_stored_failure_gets_another_key() {
        for (status, replayed, another) in
            [(500, true, true), (503, true, true), (500, false, false), (400, true, false)]
        {
            assert_eq!(is_kept_failure(status, replayed), another, "{status} {replayed}");
        }
    }

    #[test]
    fn the_pause_is_between_a_quarter_and_three_quarters_of_a_second() {
        for random in [0, 1, 499, 500, u64::MAX] {
            let pause = backoff(random).as_millis();
            assert!((250..750).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_form_is_sent_with_its_length_key_and_version() {
        let mut request = RequestBuilder::new(StripeMethod::Post, "/checkout/sessions");
        request.body = Some("mode=payment".to_owned());
        let key = IdempotencyKey::new("order-2").unwrap();
        assert_eq!(url(&api(), &request), "https://api.stripe.com/v1/checkout/sessions");
        let headers = headers(&api(), &request, Some(&key));
        let header = |name| headers.iter().find(|(n, _)| n == name).map(|(_, v)| str::from_utf8(v).unwrap()).unwrap();
        assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(header("content-length"), "12");
        assert_eq!(header("idempotency-key"), "order-2");
        assert_eq!(header("authorization"), "Bearer sk_1");
        assert_eq!(header("stripe-version"), "2026-09-30.endive");
    }

    #[test]
    fn a_read_has_no_body_and_no_key() {
        let request = bill::retrieve("cs_1").unwrap();
        let url = url(&api(), &request);
        assert!(url.starts_with("https://api.stripe.com/v1/checkout/sessions/cs_1?"), "{url}");
        assert!(url.contains("latest_charge"), "{url}");
        let headers = headers(&api(), &request, None);
        for name in ["content-length", "content-type", "idempotency-key"] {
            assert!(!headers.iter().any(|(header, _)| header == name), "{name}");
        }
    }

    #[test]
    fn permanent_and_transient_errors_are_told_apart() {
        assert!(matches!(fault(&ErrorCode::HttpRequestDenied), Fault::Misconfigured(_)));
        assert!(matches!(fault(&ErrorCode::DestinationNotFound), Fault::Misconfigured(_)));
        assert!(matches!(fault(&ErrorCode::ConnectionRefused), Fault::Transient(_)));
        assert!(matches!(fault(&ErrorCode::HttpResponseTimeout), Fault::Transient(_)));
    }
}
