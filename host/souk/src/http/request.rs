//! A client's request made into a component's: its id, its target as `wasi:http` has it, and Spin's headers.

use crate::app::Handler;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use souk_manifest::{RouteMatch, RoutePattern};
use std::net::SocketAddr;
use uuid::Uuid;

/// The header of the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

souk_manifest::fixed_limits! {
    /// The fixed limits of request ids.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The longest request id that is taken from a client; in place of a longer one the host makes its own.
    const MAX_ID_BYTES: usize = 128, bytes;
}

/// Who is at the other end of a connection, and what it speaks.
pub struct Caller {
    /// Its address.
    pub peer: SocketAddr,
    scheme: Scheme,
    address: HeaderValue,
}

impl Caller {
    /// The client at `peer`.
    pub fn new(peer: SocketAddr, scheme: Scheme) -> Self {
        // An address's text is a header value.
        let address = HeaderValue::try_from(peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"));
        Caller { peer, scheme, address }
    }
}

/// What answers a route, with the headers that are the same for each of its requests.
pub struct Target {
    /// The way to the component.
    pub handler: Handler,
    fixed: Vec<(HeaderName, HeaderValue)>,
    params: Vec<HeaderName>,
}

impl Target {
    /// The route `pattern`, answered by `handler`.
    pub fn new(pattern: &RoutePattern, handler: Handler) -> Self {
        let fixed = [
            ("spin-matched-route", pattern.as_str()),
            ("spin-raw-component-route", pattern.as_str()),
            ("spin-component-route", pattern.prefix()),
            ("spin-base-path", "/"),
        ];
        let fixed = fixed.into_iter().filter_map(|(name, value)| {
            // A header has no room for a route in another script.
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        });
        // The manifest allows parameters only such names as a header can have.
        let params = pattern.params().filter_map(|name| HeaderName::try_from(format!("spin-path-match-{name}")).ok());
        Target { handler, fixed: fixed.collect(), params: params.collect() }
    }
}

/// The client's request id where it is one (letters, digits and `-_.:+/=`, so that it cannot forge a log line), or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=MAX_ID_BYTES).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b))
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

/// The host that a request is for, by RFC 9112, section 3.2; `Err` says what is wrong with it.
pub fn authority(head: &Parts) -> Result<Authority, &'static str> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let authority = match (head.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => return Err("the request has more than one host header"),
        (None, None, None) if head.version == Version::HTTP_10 => Authority::from_static("localhost"),
        (_, None, None) if head.version == Version::HTTP_11 => return Err("the request has no host header"),
        (Some(authority), _, None) => authority.clone(),
        (None, host, None) => {
            host.and_then(|host| Authority::try_from(host.as_bytes()).ok()).ok_or("the host header is not a host")?
        }
    };
    if authority.as_str().contains('@') {
        return Err("the request's host has a user name");
    }
    Ok(authority)
}

/// The request's target in absolute form: `wasi:http` has scheme and authority apart from the `host` header.
pub fn target(uri: &Uri, authority: Authority, caller: &Caller) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(caller.scheme.clone());
    parts.authority = Some(authority);
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).ok()
}

/// Sets Spin's headers, which tell a component how it was reached, and drops those that a client has made up.
pub fn spin_headers(headers: &mut HeaderMap, url: &Uri, found: &RouteMatch<'_, '_, Target>, caller: &Caller) {
    if headers.keys().any(is_spins) {
        let forged: Vec<HeaderName> = headers.keys().filter(|name| is_spins(name)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }
    let Target { fixed, params, .. } = found.target;
    headers.reserve(fixed.len() + params.len() + 4);
    for (name, value) in fixed {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(CLIENT_ADDR, caller.address.clone());
    if let Ok(url) = HeaderValue::try_from(url.to_string()) {
        headers.insert(FULL_URL, url);
    }
    if let Ok(trailing) = HeaderValue::from_str(found.trailing_wildcard()) {
        headers.insert(PATH_INFO, trailing);
    }
    for (name, (_, value)) in params.iter().zip(found.params()) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name.clone(), value);
        }
    }
}

fn is_spins(name: &HeaderName) -> bool {
    name.as_str().starts_with("spin-")
}
