//! A client that checks every response for what must hold of all: a request id, a content type, a known error shape,
//! and nothing about the inside of the host.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A client of one host.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// What no answer may contain: paths of this machine, and traces of the host's inside.
    inside: Vec<String>,
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
        let mut inside: Vec<String> =
            ["wasm backtrace", "stack backtrace", "panicked at", ".rs:", "swordfish"].map(str::to_owned).into();
        inside.extend([folder, super::build::root()].map(|p| p.display().to_string()));
        Client { http: builder().build().unwrap(), base: format!("http://{address}"), inside }
    }

    /// The same client, speaking HTTP/2 from the first byte, over a connection of its own.
    pub(crate) fn http2(&self) -> Client {
        Client { http: builder().http2_prior_knowledge().build().unwrap(), ..self.clone() }
    }

    /// The same client with no connection open.
    pub(crate) fn fresh(&self) -> Client {
        Client { http: builder().build().unwrap(), ..self.clone() }
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

    /// A request to build on, whose response is not checked: for those that read it piece by piece.
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
        // What browsers and Stripe are told is text.
        let is_text = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if answer.status >= 400 && *method != Method::HEAD && !is_text {
            assert!(is_error_shape(&answer.json()), "an unknown error shape: {what}");
        }
        let text = String::from_utf8_lossy(&answer.body);
        for fragment in &self.inside {
            assert!(!text.contains(fragment.as_str()), "the body tells of the inside ({fragment}): {what}");
        }
    }
}

/// The shapes that a client may meet: the host's and the store's own (`message` with a status in one of its two
/// spellings), and those of the test component `front`.
fn is_error_shape(body: &Value) -> bool {
    let message = matches!(body.get("message"), Some(Value::String(_) | Value::Array(_)));
    let status = body.get("status").is_some() || body.get("statusCode").is_some();
    let of_front = ["unavailable", "failed"].iter().any(|key| body.get(key).is_some_and(Value::is_string));
    (message && status) || of_front
}

pub(crate) fn builder() -> reqwest::ClientBuilder {
    // Optional parts of the host bring a TLS that has no provider of its own; that one is there already is no fault.
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

    /// Asserts that `front` was told that its callee is unavailable, and returns the message.
    pub(crate) fn expect_unavailable(&self) -> String {
        let body = self.expect(503);
        body["unavailable"].as_str().unwrap_or_else(|| panic!("not from the link: {self:?}")).to_owned()
    }

    /// Asserts that the callee itself refused, and returns the message.
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
