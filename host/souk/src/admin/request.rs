//! Manual requests to a public route of the application, like a client's, but without a connection to its listener.
//!
//! They pass the route's middleware and count towards no client's limits. Static files are left out: a browser can get
//! them. Each is a trace of its own, as a client's is.

use super::Admin;
use super::problem::Problem;
use crate::http::path_for_log;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
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
    (*request.method_mut(), *request.uri_mut()) = (method, url);
    for (name, value) in &headers {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| Problem::bad("`headers` has an invalid header"))?;
        request.headers_mut().insert(name, value);
    }
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

fn failed(error: &Error) -> Problem {
    let message = match error {
        Error::HttpRequestBodySize(_) => "the request is too large",
        Error::HttpResponseBodySize(_) => "the response is too large",
        _ => "the component did not answer; the log says why",
    };
    Problem::new(StatusCode::BAD_GATEWAY, message)
}
