//! A client that checks what must be true of every response: it has a request id, a content type and a known error
//! shape, and reveals no internals of the host.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// A client of one host.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// The address that it connects from; `None` for the system's choice.
    from: Option<IpAddr>,
    base: String,
    /// Texts that no answer may contain: paths of this machine, secrets, and signs of the host's internals.
    internals: Vec<String>,
}

/// A whole response.
#[derive(Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub version: http::Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    pub(super) fn new(address: &str, folder: &Path) -> Client {
        let mut internals: Vec<String> =
            ["wasm backtrace", "stack backtrace", "panicked at", ".rs:", "swordfish"].map(str::to_owned).into();
        internals.extend([folder, super::build::root()].map(|p| p.display().to_string()));
        Client { http: builder().build().unwrap(), from: None, base: format!("http://{address}"), internals }
    }

    /// The same client, which speaks HTTP/2 from the first byte, over its own connection.
    pub(crate) fn http2(&self) -> Client {
        let http = builder().local_address(self.from).http2_prior_knowledge().build().unwrap();
        Client { http, ..self.clone() }
    }

    /// The same client with no connection open.
    pub(crate) fn fresh(&self) -> Client {
        Client { http: builder().local_address(self.from).build().unwrap(), ..self.clone() }
    }

    /// The same client at another address of this machine.
    pub(crate) fn from(&self, address: impl Into<IpAddr>) -> Client {
        Client { from: Some(address.into()), ..self.clone() }.fresh()
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// `GET path`, where the connection itself may fail.
    ///
    /// # Errors
    /// When there was no whole response.
    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        self.try_send(Method::GET, path, &[], None).await
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let what = format!("{method} {path}");
        match self.try_send(method, path, headers, body).await {
            Ok(answer) => answer,
            Err(e) => panic!("{what}: {e:?}"),
        }
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When there was no whole response.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.open(method.clone(), path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, version, headers) = (response.status().as_u16(), response.version(), response.headers().clone());
        let answer = Answer { status, version, headers, body: response.bytes().await? };
        self.check(&method, path, &answer);
        Ok(answer)
    }

    /// A request builder whose response is not checked: for scenarios that read the response piece by piece.
    pub(crate) fn open(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let what = format!("{method} {path} answered {answer:?}");
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no request id: {what}"));
        assert!(
            !id.is_empty() && id.len() <= 128 && id.chars().all(|c| c.is_ascii_graphic()),
            "a bad request id: {what}"
        );
        for header in ["x-powered-by", "server"] {
            assert!(answer.header(header).is_none(), "{header} was sent: {what}");
        }
        if !answer.body.is_empty() {
            assert!(answer.header("content-type").is_some(), "a body without a content type: {what}");
        }
        // The pages for browsers and the webhook's errors are HTML.
        let is_page = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if answer.status >= 400 && *method != Method::HEAD && !is_page {
            assert!(is_error_shape(&answer.json()), "an unknown error shape: {what}");
        }
        let text = String::from_utf8_lossy(&answer.body);
        for fragment in &self.internals {
            assert!(!text.contains(fragment.as_str()), "the body reveals internals ({fragment}): {what}");
        }
    }
}

/// The error shapes that a client may get: the one of the host and the store (`message`, with a status in one of its
/// two spellings), and those of the test component `front`.
fn is_error_shape(body: &Value) -> bool {
    let message = matches!(body.get("message"), Some(Value::String(_) | Value::Array(_)));
    let status = body.get("status").is_some() || body.get("statusCode").is_some();
    let of_front = ["unavailable", "failed"].iter().any(|key| body.get(key).is_some_and(Value::is_string));
    (message && status) || of_front
}

pub(crate) fn builder() -> reqwest::ClientBuilder {
    // With optional features of the host, rustls has no default crypto provider. An error means that one is installed
    // already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120))
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// Asserts the status and returns the body as JSON.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Asserts that `front` got `unavailable` from its link, and returns the message.
    pub(crate) fn expect_unavailable(&self) -> String {
        let body = self.expect(503);
        body["unavailable"].as_str().unwrap_or_else(|| panic!("not from the link: {self:?}")).to_owned()
    }

    /// Asserts that the callee itself returned an error, and returns the message.
    pub(crate) fn expect_failed(&self) -> String {
        let body = self.expect(500);
        body["failed"].as_str().unwrap_or_else(|| panic!("not the callee's own error: {self:?}")).to_owned()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(400).collect();
        write!(f, "{} {:?} {text:?}", self.status, self.headers)
    }
}
