//! HTTP as Express did it: bodies, query strings, entity tags and error shapes. It names no route and no service.

pub(crate) mod body;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod reply;

use body::Body;
use error::Error;
use json::Fields;
use reply::Reply;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields as Headers, Method, Request as WasiRequest, Response};

/// A request, as far as a route needs it.
pub(crate) struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query as the client sent them, for messages.
    pub target: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// What follows the `?`, still percent-encoded; empty when there is none.
    pub query: &'a str,
    /// The body's fields; none when there was no body of a type that is parsed.
    pub body: &'a Fields<'a>,
    headers: &'a Headers,
}

impl Request<'_> {
    /// The value of a header. Each costs a call into the host, so a route asks for what it needs.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        souk_web::header(self.headers, name)
    }
}

/// Answers one request; `dispatch` finds its route and runs it.
///
/// The body is parsed before the route is looked for, so malformed JSON is a 400 on an unknown path too, as in Express.
///
/// # Errors
/// When the host refuses the response, which is a mistake in [`reply`].
pub(crate) async fn serve(
    request: WasiRequest,
    dispatch: impl Fn(&Request<'_>) -> Result<Reply, Error>,
) -> Result<Response, ErrorCode> {
    let method = request.get_method();
    let target = request.get_path_with_query().unwrap_or_else(|| "/".to_owned());
    let headers = request.get_headers();
    let reply = match answer(request, &headers, &method, &target, dispatch).await {
        Ok(reply) => reply,
        Err(error) => error.into_reply(),
    };
    reply.send(&method, &headers)
}

async fn answer(
    request: WasiRequest,
    headers: &Headers,
    method: &Method,
    target: &str,
    dispatch: impl Fn(&Request<'_>) -> Result<Reply, Error>,
) -> Result<Reply, Error> {
    let sent = match method {
        // A body of these has no meaning (RFC 9110, section 9.3.1), so nothing is asked about it.
        Method::Get | Method::Head => Body::default(),
        _ => body::read(request, headers).await?,
    };
    let body = Fields::parse(&sent.text)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let answer = dispatch(&Request { method, target, path, query, body: &body, headers });
    answer.map_err(|error| match &sent.unread {
        Some(why) => error.unread(why),
        None => error,
    })
}
