//! Responses: JSON for the API, pages and redirects for people, each with the headers that keep it safe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use maud::Markup;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The headers of a page, beside its content security policy. The address of a page is its key, so it goes to nobody
/// as a referrer, and nobody keeps a copy.
const PAGE_HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    /// JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        // Strings, numbers and maps with string keys cannot fail to become JSON.
        let body = serde_json::to_vec(value).unwrap_or_default().into();
        Reply { status, body, headers: vec![("content-type", "application/json".to_owned())] }
    }

    /// A page without forms that lead to other sites.
    pub fn page(status: u16, page: Markup) -> Self {
        Self::page_leading_to(status, page, &[])
    }

    /// A page whose forms redirect to these addresses in the end: browsers hold a form's redirects to its policy too.
    pub fn page_leading_to(status: u16, page: Markup, addresses: &[&str]) -> Self {
        let targets: BTreeSet<String> = addresses.iter().filter_map(|url| origin(url)).collect();
        let targets: String = targets.iter().map(|origin| format!(" {origin}")).collect();
        let style = STANDARD.encode(Sha256::digest(crate::pages::STYLE));
        let policy = format!(
            "default-src 'none'; img-src data:; style-src 'sha256-{style}'; form-action 'self'{targets}; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        let mut headers =
            vec![("content-type", "text/html; charset=utf-8".to_owned()), ("content-security-policy", policy)];
        headers.extend(PAGE_HEADERS.map(|(name, value)| (name, value.to_owned())));
        Reply { status, body: page.into_string().into(), headers }
    }

    /// Sends a browser elsewhere with GET, so that reloading repeats no payment.
    pub fn see_other(url: &str) -> Self {
        let mut headers = vec![("location", url.to_owned())];
        headers.extend(PAGE_HEADERS.map(|(name, value)| (name, value.to_owned())));
        Reply { status: 303, body: Bytes::new(), headers }
    }

    /// The same with one header more.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response to a request with this method.
    pub fn into_response(self, method: &Method) -> Response<Full<Bytes>> {
        let length = self.body.len();
        let body = if *method == Method::HEAD { Bytes::new() } else { self.body };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            // What no header can hold was refused where it came in (`form`); nothing here is left out.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers.insert(CONTENT_LENGTH, length.into());
        debug_assert!(headers.contains_key(CONTENT_TYPE) || headers.contains_key(LOCATION) || length == 0);
        response
    }
}

/// `scheme://host[:port]` of a URL, if it is one that a policy can name.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.replace(['{', '}'], "_").parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    authority.as_str().chars().all(plain).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use maud::html;

    #[test]
    fn a_page_may_run_nothing_and_send_its_forms_home_and_to_the_shop_alone() {
        let addresses = [
            "https://shop.example/ok?s={CHECKOUT_SESSION_ID}",
            "http://localhost:3000/x",
            "http://localhost:3000/y",
            "no",
        ];
        let response = Reply::page_leading_to(200, html! { p { "a" } }, &addresses).into_response(&Method::GET);
        let policy = response.headers().get("content-security-policy").unwrap().to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; img-src data:; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("; form-action 'self' http://localhost:3000 https://shop.example; "), "{policy}");
        for (name, value) in PAGE_HEADERS {
            assert_eq!(response.headers().get(name).unwrap(), value);
        }
    }

    #[test]
    fn a_url_cannot_add_to_the_policy() {
        for url in ["https://a;script-src *", "https://a b", "https://u@h/", "javascript:x", "/relative"] {
            assert_eq!(origin(url).filter(|origin| origin.contains([';', ' ', '@'])), None, "{url}");
        }
        assert_eq!(origin("https://[::1]:8080/a").unwrap(), "https://[::1]:8080");
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let response = Reply::json(200, &"abc").into_response(&Method::HEAD);
        assert_eq!(response.headers().get("content-length").unwrap(), "5");
        assert!(response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes().is_empty());
    }
}
