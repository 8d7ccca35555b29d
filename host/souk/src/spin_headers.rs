//! Spin's headers, which tell a component how it was reached. Requests from outside and from other components
//! (`http://NAME.spin.internal`) both get them here.
//!
//! As in Spin, a request from another component counts as a request to the route `/...` from the address 0.0.0.0:0: the
//! component sees the whole path, whatever its public routes are.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use souk_manifest::{RouteMatch, RoutePattern, Router};

const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// The headers that are the same for each request to a route, and the names of its parameters' headers.
pub struct RouteHeaders {
    fixed: Vec<(HeaderName, HeaderValue)>,
    params: Vec<HeaderName>,
}

impl RouteHeaders {
    /// The headers of `pattern`, in an application whose routes begin with `base`.
    pub fn of(pattern: &RoutePattern, base: &str) -> Self {
        let fixed = [
            ("spin-matched-route", pattern.as_str()),
            ("spin-raw-component-route", pattern.as_str()),
            ("spin-component-route", pattern.prefix()),
            ("spin-base-path", base),
        ];
        let fixed = fixed.into_iter().filter_map(|(name, value)| {
            // A header cannot contain a route with non-ASCII characters.
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        });
        // The manifest only allows parameter names that are valid in a header's name.
        let params = pattern.params().filter_map(|name| HeaderName::try_from(format!("spin-path-match-{name}")).ok());
        RouteHeaders { fixed: fixed.collect(), params: params.collect() }
    }

    /// Sets the headers of a request to `url` from `client`, for which the router returned `found`, and removes such
    /// headers that the client sent.
    pub fn set<T>(&self, headers: &mut HeaderMap, url: &Uri, found: &RouteMatch<'_, '_, T>, client: &HeaderValue) {
        if headers.keys().any(is_spins) {
            let forged: Vec<HeaderName> = headers.keys().filter(|name| is_spins(name)).cloned().collect();
            for name in forged {
                headers.remove(name);
            }
        }
        headers.reserve(self.fixed.len() + self.params.len() + 4);
        for (name, value) in &self.fixed {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(CLIENT_ADDR, client.clone());
        if let Some(url) = value_of(url) {
            headers.insert(FULL_URL, url);
        }
        if let Ok(trailing) = HeaderValue::from_str(found.trailing_wildcard()) {
            headers.insert(PATH_INFO, trailing);
        }
        for (name, (_, value)) in self.params.iter().zip(found.params()) {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

/// An absolute URL as a header value.
fn value_of(url: &Uri) -> Option<HeaderValue> {
    let (scheme, authority) = (url.scheme_str()?, url.authority()?.as_str());
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let mut value = BytesMut::with_capacity(scheme.len() + 3 + authority.len() + target.len());
    [scheme, "://", authority, target].iter().for_each(|part| value.extend_from_slice(part.as_bytes()));
    HeaderValue::from_maybe_shared(value.freeze()).ok()
}

fn is_spins(name: &HeaderName) -> bool {
    name.as_str().starts_with("spin-")
}

/// The route of requests between components.
pub(crate) struct InternalRoute(Router<RouteHeaders>);

impl InternalRoute {
    /// The client address of a request from a component.
    pub(crate) const NO_CLIENT: HeaderValue = HeaderValue::from_static("0.0.0.0:0");

    /// The route `/...`.
    pub(crate) fn new() -> Self {
        let pattern = RoutePattern::everything();
        let headers = RouteHeaders::of(&pattern, "/");
        InternalRoute(Router::new([(pattern, headers)]))
    }

    /// Sets the headers of a request to the absolute URL `url`.
    pub(crate) fn set(&self, headers: &mut HeaderMap, url: &Uri) {
        if let Some(found) = self.0.route(url.path()) {
            found.target.set(headers, url, &found, &Self::NO_CLIENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_component_has_the_headers_of_the_route_for_everything() {
        let mut headers = HeaderMap::new();
        headers.insert("spin-path-match-user", HeaderValue::from_static("forged"));
        headers.insert("spin-path-info", HeaderValue::from_static("/forged"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        InternalRoute::new().set(&mut headers, &Uri::from_static("http://orders.spin.internal/api/x?y=1"));
        let mut seen: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ("spin-base-path", "/"),
                ("spin-client-addr", "0.0.0.0:0"),
                ("spin-component-route", ""),
                ("spin-full-url", "http://orders.spin.internal/api/x?y=1"),
                ("spin-matched-route", "/..."),
                ("spin-path-info", "/api/x"),
                ("spin-raw-component-route", "/..."),
                ("x-mine", "1"),
            ]
        );
    }
}
