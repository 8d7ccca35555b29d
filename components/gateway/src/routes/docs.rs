//! `/api/openapi.json` and `/api/docs`: the API's own description, for programs and for people.
//!
//! Both are made from the routes' types by a test (`super::openapi`) and checked in, so that serving them costs no more
//! than sending them, and a change of the API shows in its review.

use super::no_route;
use crate::http::Request;
use crate::http::error::Error;
use crate::http::reply::{Kind, Reply};
use spin_sdk::wasip3::http::types::Method;

/// The description, as OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("../../openapi.json");
/// The same as a page.
pub(super) const PAGE: &str = include_str!("../../docs.html");
/// What the page may do: be shown, with the one style sheet and the icon that it carries. A test compares the hash.
pub(super) const POLICY: &str = "default-src 'none'; img-src data:; \
                          style-src 'sha256-g2TblSgPy/AW3S+Cz4NpkBdoIBUjyry3f1Kl5CVp1TU='; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers a request for `/api/openapi.json` or `/api/docs`.
pub(super) fn route(request: &Request<'_>, resource: &str, rest: &[&str]) -> Result<Reply, Error> {
    let (body, kind) = match (request.method, rest, resource) {
        (Method::Get | Method::Head, [], "docs") => (PAGE, Kind::Page(POLICY)),
        (Method::Get | Method::Head, [], _) => (DOCUMENT, Kind::Json),
        _ => return Err(no_route(request)),
    };
    Ok(Reply { status: 200, body: body.into(), kind, public: true, retry_after: None })
}
