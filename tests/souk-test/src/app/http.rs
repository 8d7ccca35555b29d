//! Requests of a test, and their responses.

use serde_json::Value;
use std::time::Duration;
use ureq::http;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest response body that a test can read.
const MAX_BODY_BYTES: u64 = 256 << 20;

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub(super) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let what = format!("{method} {url}");
    let sent = match body {
        Some(body) => agent.run(request.body(body).unwrap_or_else(|e| panic!("{what}: {e}"))),
        None => agent.run(request.body(()).unwrap_or_else(|e| panic!("{what}: {e}"))),
    };
    let mut response = sent.unwrap_or_else(|e| panic!("{what}: {e}"));
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let (status, headers) = (response.status().as_u16(), headers.collect());
    let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec();
    Response { status, headers, body: body.unwrap_or_else(|e| panic!("{what}: the body: {e}")) }
}
