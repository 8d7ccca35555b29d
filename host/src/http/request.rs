//! A client's request made into a component's: its id, its target as `wasi:http` has it, and Spin's headers.

use crate::manifest::RouteMatch;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::SocketAddr;
use uuid::Uuid;

/// The header of the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken from a client, in bytes.
const MAX_ID: usize = 128;

/// The client's request id where it is one (letters, digits and `-_.:+/=`, so that it cannot forge a log line), or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b))
    });
    match given {
        Some(value) => value.clone(),
        None => {
            let mut buffer = Uuid::encode_buffer();
            let id = Uuid::now_v7().as_hyphenated().encode_lower(&mut buffer);
            // A UUID's text is a header value.
            HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
        }
    }
}

/// The request's target in absolute form: `wasi:http` has scheme and authority apart from the `host` header.
pub fn target(uri: &Uri, headers: &HeaderMap, scheme: Scheme) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    if parts.authority.is_none() {
        let host = headers.get(HOST).map_or(Ok("localhost"), HeaderValue::to_str).ok()?;
        parts.authority = Some(Authority::try_from(host).ok()?);
    }
    parts.scheme = Some(scheme);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).ok()
}

/// Sets Spin's headers, which tell a component how it was reached, and drops those that a client has made up.
pub fn spin_headers<T>(headers: &mut HeaderMap, target: &Uri, found: &RouteMatch<'_, '_, T>, peer: SocketAddr) {
    let forged: Vec<HeaderName> = headers.keys().filter(|k| k.as_str().starts_with("spin-")).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("spin-full-url", &target.to_string());
    set("spin-path-info", found.trailing_wildcard());
    set("spin-matched-route", found.pattern.as_str());
    set("spin-raw-component-route", found.pattern.as_str());
    set("spin-component-route", found.pattern.prefix());
    set("spin-base-path", "/");
    set("spin-client-addr", &peer.to_string());
    for (name, value) in found.params() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(format!("spin-path-match-{name}")), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
}
