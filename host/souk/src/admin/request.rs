//! Manual requests to a public route of the application, like a client's, but without a connection to its listener.
//!
//! They pass the route's middleware and count towards no client's limits. Static files are left out: a browser can get
//! them. Each is a trace of its own, as a client's is.

use super::Admin;
use super::problem::Problem;
use crate::http::path_for_log;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use souk_bindings::call::CallContext;
use souk_bindings::trace::{Attribute, Parent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use wasmtime_wasi_http::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of manual requests.
    pub(crate) const FIXED_LIMITS = "administration";

    /// The timeout of a manual request, unless its component's own limit is shorter.
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
    /// The longest response to a manual request.
    const MAX_RESPONSE_BYTES: usize = 4 << 20, bytes;
    /// The most bytes of the headers of a manual request, as a component's own are counted.
    const MAX_HEADERS_BYTES: usize = 128 << 10, bytes;
}

/// A request to make.
#[derive(Deserialize)]
pub(super) struct ManualRequest {
    pub(super) method: String,
    /// The path with its query.
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

impl ManualRequest {
    /// The path without its query, which may hold a secret.
    pub(super) fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// The response.
#[derive(Serialize)]
pub(super) struct ManualResponse {
    status: u16,
    headers: Vec<(String, String)>,
    /// As text; invalid UTF-8 is replaced.
    body: String,
}

/// Makes the request.
///
/// # Errors
/// When the request is invalid, or nothing could answer it.
pub(super) async fn send(admin: &Arc<Admin>, request: ManualRequest) -> Result<ManualResponse, Problem> {
    let ManualRequest { method, path, headers, body } = request;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Problem::bad("`method` is not an HTTP method"))?;
    let url = Uri::try_from(format!("{}{path}", admin.url)).ok().filter(|_| path.starts_with('/'));
    let url = url.ok_or_else(|| Problem::bad("`path` is not a path\n  fix: begin it with `/`"))?;
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, url, read_headers(&headers)?);
    let mut context = CallContext::new(format!("call-{}", Uuid::now_v7().simple()), REQUEST_TIMEOUT);
    context.span = admin.app.boundaries().tracer().root(Parent::of(request.headers()));
    let name = format!("{} {}", request.method(), path_for_log(request.uri().path()));
    let mut span = context.span.leave(&name);
    span.note("souk.request.id", || Attribute::text(&context.trace));
    let answer = async {
        let response = admin.app.request(request, context).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        span.note("http.response.status_code", || Attribute::number(head.status.as_u16()));
        span.end(head.status.is_server_error().then_some("failed"));
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| {
            let what = match error.is::<LengthLimitError>() {
                true => format!("the response is larger than {MAX_RESPONSE_BYTES} bytes"),
                false => "the response broke off; the log says why".to_owned(),
            };
            Problem::new(StatusCode::BAD_GATEWAY, what)
        })?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(ManualResponse {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    };
    let late = |_| Problem::new(StatusCode::GATEWAY_TIMEOUT, "the application did not answer in time");
    tokio::time::timeout(REQUEST_TIMEOUT, answer).await.map_err(late)?
}

/// The headers of a request. Within the limit there are far fewer than the number at which a `HeaderMap` panics.
///
/// # Errors
/// When one is invalid, or they are too many.
fn read_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, Problem> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len() + size_of::<HeaderValue>()).sum();
    if bytes > MAX_HEADERS_BYTES {
        return Err(Problem::bad(format_args!(
            "`headers` has {bytes} bytes, and may have {MAX_HEADERS_BYTES}; each header counts for {} more than its text\n  \
             fix: send fewer or shorter headers",
            size_of::<HeaderValue>()
        )));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| Problem::bad("`headers` has an invalid header"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn failed(error: &Error) -> Problem {
    let message = match error {
        Error::HttpRequestBodySize(_) => "the request is too large",
        Error::HttpResponseBodySize(_) => "the response is too large",
        _ => "the component did not answer; the log says why",
    };
    Problem::new(StatusCode::BAD_GATEWAY, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_headers_than_a_head_can_have_are_refused() {
        let many = |count: usize, value: usize| {
            read_headers(&(0..count).map(|n| (format!("h{n}"), "x".repeat(value))).collect())
        };
        assert_eq!(many(1_000, 10).unwrap().len(), 1_000);
        for (count, value) in [(24_577, 0), (40_000, 1), (1, 200_000), (100, 2_000)] {
            let problem = many(count, value).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
            let text = problem.to_string();
            assert!(text.contains("may have 131072") && text.contains("fix: "), "{count} {value}: {text}");
        }
        for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\ny: z")] {
            let problem = read_headers(&BTreeMap::from([(name.to_owned(), value.to_owned())])).unwrap_err();
            assert!(problem.to_string().contains("invalid header"), "{problem}");
        }
    }
}
