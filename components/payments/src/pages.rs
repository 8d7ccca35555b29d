//! `/payments/success` and `/payments/cancel`: where customers come back to when no shop's pages are configured.
//!
//! To programs they say that Stripe sent someone here and no more: anyone can open them, so they change and reveal nothing.
//! Those answers are the recorded ones: paths without regard to case, one slash at the end allowed, weak entity tags.

use crate::landing::{self, Outcome};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY, VARY,
};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use souk_web::{NOSNIFF, etag};

#[derive(Serialize)]
struct Said {
    ok: bool,
    message: &'static str,
}

#[derive(Serialize)]
struct NoRoute {
    message: String,
    error: &'static str,
    #[serde(rename = "statusCode")]
    status: u16,
}

/// Answers a request for `target` (path and query as sent) of a client that has the bodies with these tags.
///
/// A browser gets a page of ours ([`landing`]); whoever does not ask for `text/html` gets what was recorded.
pub(crate) fn answer(
    method: &Method,
    target: &str,
    if_none_match: Option<&str>,
    accept: Option<&str>,
) -> Response<Full<Bytes>> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.to_ascii_lowercase();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let read = matches!(*method, Method::GET | Method::HEAD);
    let outcome = match path {
        "/payments/success" => Some(Outcome::Success),
        "/payments/cancel" => Some(Outcome::Cancel),
        _ => None,
    };
    if let Some(outcome) = outcome.filter(|_| read && accept.is_some_and(wants_a_page)) {
        return page(method, landing::page(outcome, query));
    }
    let (status, body) = match path {
        "/payments/success" if read => (StatusCode::OK, json(&Said { ok: true, message: "Payment successful" })),
        "/payments/cancel" if read => (StatusCode::OK, json(&Said { ok: false, message: "Payment cancelled" })),
        _ => {
            let message = format!("Cannot {method} {target}");
            (StatusCode::NOT_FOUND, json(&NoRoute { message, error: "Not Found", status: 404 }))
        }
    };
    let tag = etag::of(&body);
    if status == StatusCode::OK && if_none_match.is_some_and(|wanted| etag::matches(wanted, &tag)) {
        let mut unchanged = Response::new(Full::default());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut unchanged, ETAG, &tag);
        set(&mut unchanged, HeaderName::from_static(NOSNIFF.0), NOSNIFF.1);
        return unchanged;
    }
    let length = body.len().to_string();
    let body = if *method == Method::HEAD { Bytes::new() } else { body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "application/json; charset=utf-8");
    set(&mut response, CONTENT_LENGTH, &length);
    set(&mut response, ETAG, &tag);
    set(&mut response, VARY, "Accept");
    set(&mut response, HeaderName::from_static(NOSNIFF.0), NOSNIFF.1);
    response
}

/// Whether `Accept` asks for HTML, as browsers do.
fn wants_a_page(accept: &str) -> bool {
    accept
        .split(',')
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

fn page(method: &Method, html: String) -> Response<Full<Bytes>> {
    let length = html.len().to_string();
    let body = if *method == Method::HEAD { Bytes::new() } else { html.into() };
    let mut response = Response::new(Full::new(body));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_LENGTH, length.as_str()),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, landing::POLICY),
        (VARY, "Accept"),
        (HeaderName::from_static(NOSNIFF.0), NOSNIFF.1),
    ] {
        set(&mut response, name, value);
    }
    response
}

/// Strings and numbers cannot fail to become JSON.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Sets a header; none of these values has a character that a header cannot.
fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    fn open(method: Method, target: &str) -> (u16, String) {
        let response = answer(&method, target, None, None);
        let status = response.status().as_u16();
        let body = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn both_pages_answer_as_recorded_however_their_path_is_written() {
        for target in
            ["/payments/success", "/payments/success?session_id=x", "/Payments/SUCCESS/", "/payments/success/?a"]
        {
            let page = open(Method::GET, target);
            assert_eq!(page, (200, r#"{"ok":true,"message":"Payment successful"}"#.to_owned()), "{target}");
        }
        let page = open(Method::GET, "/payments/cancel");
        assert_eq!(page, (200, r#"{"ok":false,"message":"Payment cancelled"}"#.to_owned()));
    }

    #[test]
    fn a_browser_gets_a_page_that_nobody_keeps() {
        let accept = Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        for target in ["/payments/success", "/Payments/Cancel/?x=1"] {
            let page = answer(&Method::GET, target, None, accept);
            let header = |name: &str| page.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header("content-type"), "text/html; charset=utf-8");
            assert_eq!((header("cache-control"), header("referrer-policy")), ("no-store".into(), "no-referrer".into()));
        }
        assert_eq!(answer(&Method::GET, "/payments/nothing", None, accept).status(), 404);
    }

    #[test]
    fn anything_else_is_a_404_that_quotes_the_request() {
        for (method, target) in [
            (Method::GET, "/payments/x?y=\"z"),
            (Method::POST, "/payments/success"),
            (Method::GET, "/payments/success//"),
            (Method::GET, "/payments"),
            (Method::GET, "/payments/webhook"),
        ] {
            let (status, body) = open(method.clone(), target);
            let message = format!("Cannot {method} {target}").replace('"', "\\\"");
            assert_eq!(status, 404);
            assert_eq!(body, format!(r#"{{"message":"{message}","error":"Not Found","statusCode":404}}"#));
        }
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let get = answer(&Method::GET, "/payments/success", None, Some("*/*"));
        let head = answer(&Method::HEAD, "/payments/success", None, Some("*/*"));
        assert_eq!(get.headers(), head.headers());
        assert_eq!(head.headers().get("content-length").unwrap(), "42");
        assert_eq!(open(Method::HEAD, "/payments/success"), (200, String::new()));
    }

    #[test]
    fn a_client_that_has_the_body_gets_304() {
        let page = answer(&Method::GET, "/payments/success", None, Some("*/*"));
        let tag = page.headers().get("etag").unwrap().to_str().unwrap();
        assert!(tag.starts_with("W/\"2a-"), "{tag}");
        let status = |tags: &str| answer(&Method::GET, "/payments/success", Some(tags), None).status().as_u16();
        assert_eq!(status(tag), 304);
        assert_eq!(status("*"), 304);
        assert_eq!(status(&format!("\"a\", {}", tag.trim_start_matches("W/"))), 304);
        assert_eq!(status("W/\"a\""), 200);
    }
}
