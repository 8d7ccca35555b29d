//! `/payments/success` and `/payments/cancel`: where customers come back to if the shop has configured no pages of its
//! own.
//!
//! Programs only get the answer that Stripe sent somebody here: anyone can open these pages, so they change and reveal
//! nothing. These answers are the same as in the NestJS system: paths match without regard to case and with or without
//! a slash at the end, and the entity tags are weak.

use crate::landing::{self, Outcome};
use serde::Serialize;
use souk_web::{Response, etag, method_name};
use spin_sdk::wasip3::http::types::Method;

#[derive(Serialize)]
struct OutcomeBody {
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

/// Answers a request for `target` (path and query as sent); `if_none_match` has the entity tags of the bodies that the
/// client has.
///
/// A client that accepts `text/html` gets a page ([`landing`]); others get the NestJS system's JSON.
pub(crate) fn answer(method: &Method, target: &str, if_none_match: Option<&str>, accept: Option<&str>) -> Response {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.to_ascii_lowercase();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let read = matches!(method, Method::Get | Method::Head);
    let outcome = match path {
        "/payments/success" => Some(Outcome::Success),
        "/payments/cancel" => Some(Outcome::Cancel),
        _ => None,
    };
    if let Some(outcome) = outcome.filter(|_| read && accept.is_some_and(wants_a_page)) {
        return page(method, landing::page(outcome, query));
    }
    let (status, body) = match path {
        "/payments/success" if read => (200, json(&OutcomeBody { ok: true, message: "Payment successful" })),
        "/payments/cancel" if read => (200, json(&OutcomeBody { ok: false, message: "Payment cancelled" })),
        _ => {
            let message = format!("Cannot {} {target}", method_name(method));
            (404, json(&NoRoute { message, error: "Not Found", status: 404 }))
        }
    };
    let tag = etag::of(&body);
    if status == 200 && if_none_match.is_some_and(|wanted| etag::matches(wanted, &tag)) {
        return Response::new(304, vec![header("etag", &tag)], None);
    }
    let headers = vec![
        header("content-type", "application/json; charset=utf-8"),
        header("content-length", &body.len().to_string()),
        header("etag", &tag),
        header("vary", "Accept"),
    ];
    Response::new(status, headers, (!matches!(method, Method::Head)).then_some(body))
}

/// Whether `Accept` names HTML, as browsers do, and not JSON before it.
fn wants_a_page(accept: &str) -> bool {
    let html = quality(accept, "text/html");
    html.is_some_and(|html| html > 0.0 && html >= quality(accept, "application/json").unwrap_or_default())
}

/// The quality with which `Accept` names a type (RFC 9110, section 12.5.1); `None` if it does not.
fn quality(accept: &str, kind: &str) -> Option<f32> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().filter(|named| named.eq_ignore_ascii_case(kind))?;
        let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(q.map_or(1.0, |q| q.parse().unwrap_or_default()))
    })
}

fn page(method: &Method, html: String) -> Response {
    let headers = vec![
        header("content-type", "text/html; charset=utf-8"),
        header("content-length", &html.len().to_string()),
        header("cache-control", "no-store"),
        header("referrer-policy", "no-referrer"),
        header("content-security-policy", landing::POLICY),
        header("vary", "Accept"),
    ];
    Response::new(200, headers, (!matches!(method, Method::Head)).then_some(html.into_bytes()))
}

/// Strings and numbers cannot fail to become JSON.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn header(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(method: Method, target: &str) -> (u16, String) {
        let response = answer(&method, target, None, None);
        (response.status(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    #[test]
    fn both_pages_answer_as_recorded_for_every_spelling_of_their_path() {
        for target in
            ["/payments/success", "/payments/success?session_id=x", "/Payments/SUCCESS/", "/payments/success/?a"]
        {
            let page = open(Method::Get, target);
            assert_eq!(page, (200, r#"{"ok":true,"message":"Payment successful"}"#.to_owned()), "{target}");
        }
        let page = open(Method::Get, "/payments/cancel");
        assert_eq!(page, (200, r#"{"ok":false,"message":"Payment cancelled"}"#.to_owned()));
    }

    #[test]
    fn a_browser_gets_a_page_that_no_cache_stores() {
        let accept = Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        for target in ["/payments/success", "/Payments/Cancel/?x=1"] {
            let page = answer(&Method::Get, target, None, accept);
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(
                (page.header("cache-control"), page.header("referrer-policy")),
                (Some("no-store"), Some("no-referrer"))
            );
        }
        assert_eq!(answer(&Method::Get, "/payments/nothing", None, accept).status(), 404);
    }

    #[test]
    fn a_program_that_prefers_json_gets_json() {
        for accept in ["text/html", "application/json,TEXT/HTML ; level=1", "text/html;q=0.5,application/json;q=0.4"] {
            assert!(wants_a_page(accept), "{accept}");
        }
        for accept in
            ["", "*/*", "application/json", "text/html;q=0", "text/html;q=0.5,application/json", "text/html;q=x"]
        {
            assert!(!wants_a_page(accept), "{accept}");
        }
    }

    #[test]
    fn anything_else_is_a_404_that_quotes_the_request() {
        for (method, target) in [
            (Method::Get, "/payments/x?y=\"z"),
            (Method::Post, "/payments/success"),
            (Method::Get, "/payments/success//"),
            (Method::Get, "/payments"),
            (Method::Get, "/payments/webhook"),
        ] {
            let name = method_name(&method).to_owned();
            let (status, body) = open(method, target);
            let message = format!("Cannot {name} {target}").replace('"', "\\\"");
            assert_eq!(status, 404);
            assert_eq!(body, format!(r#"{{"message":"{message}","error":"Not Found","statusCode":404}}"#));
        }
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let get = answer(&Method::Get, "/payments/success", None, Some("*/*"));
        let head = answer(&Method::Head, "/payments/success", None, Some("*/*"));
        assert_eq!(get.headers(), head.headers());
        assert_eq!(head.header("content-length").unwrap(), "42");
        assert_eq!(open(Method::Head, "/payments/success"), (200, String::new()));
    }

    #[test]
    fn a_client_that_has_the_body_gets_304() {
        let page = answer(&Method::Get, "/payments/success", None, Some("*/*"));
        let tag = page.header("etag").unwrap();
        assert!(tag.starts_with("W/\"2a-"), "{tag}");
        let status = |tags: &str| answer(&Method::Get, "/payments/success", Some(tags), None).status();
        assert_eq!(status(tag), 304);
        assert_eq!(status("*"), 304);
        assert_eq!(status(&format!("\"a\", {}", tag.trim_start_matches("W/"))), 304);
        assert_eq!(status("W/\"a\""), 200);
    }
}
