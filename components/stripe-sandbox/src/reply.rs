//! Responses: JSON for the API, and pages and redirects for people, each with its security headers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Uri};
use maud::Markup;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use souk_web::Response;
use std::collections::BTreeSet;

/// The headers of a page, besides its content security policy. The URL of a page is the key to it, so it is never sent
/// as a referrer, and no cache stores the page.
const PAGE_HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Headers in the form of `wasi:http`.
type Headers = Vec<(String, Vec<u8>)>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    /// JSON.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Self {
        // Strings, numbers and maps with string keys always serialize.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Reply { status, body, headers: vec![("content-type", "application/json".to_owned())] }
    }

    /// A page without forms that lead to other sites.
    pub(crate) fn page(status: u16, page: Markup) -> Self {
        Self::page_redirecting_to(status, page, &[])
    }

    /// A page whose forms finally redirect to these URLs: browsers apply the page's policy to a form's redirects too.
    pub(crate) fn page_redirecting_to(status: u16, page: Markup, addresses: &[&str]) -> Self {
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
        Reply { status, body: page.into_string().into_bytes(), headers }
    }

    /// Redirects a browser with GET, so that a reload does not repeat a payment.
    pub(crate) fn see_other(url: &str) -> Self {
        let mut headers = vec![("location", url.to_owned())];
        headers.extend(PAGE_HEADERS.map(|(name, value)| (name, value.to_owned())));
        Reply { status: 303, body: Vec::new(), headers }
    }

    /// Adds one header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response to a request with this method.
    pub(crate) fn send(self, method: &Method) -> Response {
        let (status, headers, body) = self.parts(method);
        Response::new(status, headers, body)
    }

    /// Status, headers, and the body if the response has one.
    fn parts(self, method: &Method) -> (u16, Headers, Option<Vec<u8>>) {
        // `form` has refused values that no header can hold, so nothing is left out here.
        let fits = |value: &str| HeaderValue::from_str(value).is_ok();
        let headers = self.headers.into_iter().filter(|(_, value)| fits(value));
        let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
        headers.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        (self.status, headers, (*method != Method::HEAD).then_some(self.body))
    }
}

/// `scheme://host[:port]` of a URL, if a policy can name it.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.replace(['{', '}'], "_").parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    authority.as_str().chars().all(plain).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use maud::html;

    #[test]
    fn a_page_runs_no_scripts_and_sends_its_forms_only_to_us_and_to_the_shop() {
        let addresses = [
            "https://shop.example/ok?s={CHECKOUT_SESSION_ID}",
            "http://localhost:3000/x",
            "http://localhost:3000/y",
            "no",
        ];
        let (_, headers, _) = Reply::page_redirecting_to(200, html! { p { "a" } }, &addresses).parts(&Method::GET);
        let header = |name| headers.iter().find(|(n, _)| n == name).map(|(_, v)| str::from_utf8(v).unwrap()).unwrap();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; img-src data:; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("; form-action 'self' http://localhost:3000 https://shop.example; "), "{policy}");
        for (name, value) in PAGE_HEADERS {
            assert_eq!(header(name), value);
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
        let (status, headers, body) = Reply::json(200, &"abc").parts(&Method::HEAD);
        assert_eq!((status, body), (200, None));
        assert!(headers.contains(&("content-length".to_owned(), b"5".to_vec())), "{headers:?}");
    }
}
