//! HTTP as Express does it: bodies, query strings, entity tags, error shapes, and CORS. This module knows no route and
//! no service.

pub(crate) mod body;
mod cors;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod reply;

use body::Body;
use cors::Cors;
use error::Error;
use json::Fields;
use reply::Reply;
use souk_web::{Headers, Request as Received, Response};
use spin_sdk::wasip3::http::types::Method;

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
    /// The fields of the body; empty without a body, or when its type is not parsed.
    pub body: &'a Fields<'a>,
    headers: &'a Headers,
}

impl Request<'_> {
    /// The value of a header. Each may cost a call into the host, so a route asks for what it needs.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }
}

/// Answers one request; `dispatch` finds its route and runs it.
///
/// The body is parsed before the route is looked for, so malformed JSON is a 400 on an unknown path too, as in Express.
pub(crate) async fn serve(mut request: Received, dispatch: impl Fn(&Request<'_>) -> Result<Reply, Error>) -> Response {
    let cors = Cors::of(&request.method, &request.headers);
    if let Some(allowed) = cors.preflight {
        return Response::new(204, allowed, None);
    }
    let reply = match answer(&mut request, dispatch).await {
        Ok(reply) => reply,
        Err(error) => error.into_reply(),
    };
    reply.send(&request.method, &request.headers, cors.headers)
}

async fn answer(
    request: &mut Received,
    dispatch: impl Fn(&Request<'_>) -> Result<Reply, Error>,
) -> Result<Reply, Error> {
    let sent = match request.method {
        // A body of these has no meaning (RFC 9110, section 9.3.1), so nothing is asked about it.
        Method::Get | Method::Head => Body::default(),
        _ => body::read(request).await.map(|body| match body.missing_hint {
            None => Body { missing_hint: body::without_fields(&body.text), ..body },
            Some(_) => body,
        })?,
    };
    let body = Fields::parse(&sent.text)?;
    let Received { method, target, headers, .. } = &*request;
    let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
    let answer = dispatch(&Request { method, target, path, query, body: &body, headers });
    answer.map_err(|error| match &sent.missing_hint {
        Some(why) => error.missing_hint(why),
        None => error,
    })
}
