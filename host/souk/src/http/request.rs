//! Turns a client's request into a component's: its id, and its target in the form of `wasi:http`.

use super::peer::Peer;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// The header of the request id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

souk_manifest::fixed_limits! {
    /// The fixed limits of request ids.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The longest request id that the host accepts from a client; it replaces a longer one by its own.
    const MAX_ID_BYTES: usize = 128, bytes;
    /// How much of a request's path the access log shows.
    const MAX_LOGGED_PATH_BYTES: usize = 1 << 10, bytes;
    /// How much of a request's method the access log shows.
    const MAX_LOGGED_METHOD_BYTES: usize = 32, bytes;
}

/// The other end of a connection, and its protocol.
pub struct Caller {
    /// The peer, which may be a proxy.
    pub peer: Peer,
    /// The id of its connection.
    pub connection: u64,
    scheme: Scheme,
    /// The peer, as the value of a header.
    header: HeaderValue,
}

impl Caller {
    /// Whether the connection is TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The other end of the connection with this id.
    pub fn new(peer: Peer, connection: u64, scheme: Scheme) -> Self {
        Caller { header: peer.header(), peer, connection, scheme }
    }

    /// The header value for `client`, which is the peer or a client named by the peer.
    pub(super) fn header_of(&self, client: &Peer) -> HeaderValue {
        if *client == self.peer { self.header.clone() } else { client.header() }
    }
}

/// How much of the host's memory a request's head uses.
pub(super) fn head_bytes<B>(request: &Request<B>) -> u64 {
    const ENTRY: usize = 64;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY);
    (target + headers.sum::<usize>()) as u64
}

/// The client's request id if it is valid (letters, digits and `-_.:+/=`, so that it cannot forge a log line),
/// otherwise a new one.
pub(super) fn id(headers: &HeaderMap) -> HeaderValue {
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
            // A UUID's text is always a valid header value.
            HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
        }
    }
}

/// A request's id, for its call and its trace.
pub(super) fn shared(id: &HeaderValue) -> Arc<str> {
    id.to_str().unwrap_or("-").into()
}

/// A method for the log.
pub(super) fn method_for_log(method: &Method) -> &str {
    let method = method.as_str();
    method.get(..MAX_LOGGED_METHOD_BYTES).unwrap_or(method)
}

/// A path for the log, which must not name a person: without the segments that could be an e-mail address. The query,
/// which can hold more, is not in the log at all. A long path is cut, so that no client can fill the log.
pub(crate) fn path_for_log(path: &str) -> Cow<'_, str> {
    let address = |part: &str| part.contains('@') || part.contains("%40");
    let kept = path.get(..path.floor_char_boundary(MAX_LOGGED_PATH_BYTES)).unwrap_or_default();
    let is_cut = kept.len() < path.len();
    if !is_cut && !address(path) {
        return Cow::Borrowed(path);
    }
    // The last segment may be the beginning of an address.
    let mut shown: Vec<_> = kept.split('/').map(|segment| if address(segment) { "***" } else { segment }).collect();
    if is_cut {
        shown.pop();
        shown.push("...");
    }
    Cow::Owned(shown.join("/"))
}

/// The host that a request is for, according to RFC 9112, section 3.2, and RFC 9113, section 8.3.1; `Err` explains what
/// is wrong.
pub(super) fn authority(head: &Parts) -> Result<Authority, &'static str> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let authority = match (head.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => return Err("the request has more than one host header"),
        (None, None, None) if head.version == Version::HTTP_10 => Authority::from_static("localhost"),
        (_, None, None) if head.version == Version::HTTP_11 => return Err("the request has no host header"),
        // In HTTP/1.1 an absolute target overrides `host`. In HTTP/2 both must name the same host, if both are given.
        (Some(authority), Some(host), None) if head.version == Version::HTTP_2 && !is_same(authority, host) => {
            return Err("the request's :authority and its host header differ");
        }
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

/// Whether a `host` header names `authority`, ignoring case.
fn is_same(authority: &Authority, host: &HeaderValue) -> bool {
    host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
}

/// The request's target in absolute form: `wasi:http` passes scheme and authority separately from the `host` header.
pub(super) fn target(uri: &Uri, authority: Authority, caller: &Caller) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(caller.scheme.clone());
    parts.authority = Some(authority);
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_with_an_address_is_not_in_the_log() {
        for (path, shown) in [
            ("/api/products/7", "/api/products/7"),
            ("/api/users/ann@example.com", "/api/users/***"),
            ("/users/ann%40example.com/orders", "/users/***/orders"),
            ("/@", "/***"),
            ("", ""),
        ] {
            assert_eq!(path_for_log(path), shown);
        }
    }

    #[test]
    fn the_log_shows_the_beginning_of_a_long_path_and_of_a_long_method() {
        let long = "x".repeat(30_000);
        assert_eq!(path_for_log(&format!("/{long}")), "/...");
        let path = format!("/a/jane%40example.com/{}", "b/".repeat(30_000));
        let shown = path_for_log(&path);
        assert!(shown.starts_with("/a/***/b/") && shown.ends_with("/b/...") && shown.len() <= 1_100, "{shown}");
        // A cut must not leave the beginning of an address.
        let path = format!("/{}/jane%40example.com", "b".repeat(MAX_LOGGED_PATH_BYTES - 8));
        assert!(!path_for_log(&path).contains("jane"));
        let method = Method::from_bytes(long.as_bytes()).unwrap();
        assert_eq!((method_for_log(&method).len(), method_for_log(&Method::OPTIONS)), (32, "OPTIONS"));
    }
}
