//! `/api/openapi.json` and `/api/docs`: the API's own description, for programs and for people.
//!
//! A test (`super::openapi`) generates both from the routes' types, and they are checked in. So the component only has
//! to send them, and a review shows every change of the API.

use super::no_route;
use crate::http::Request;
use crate::http::error::Error;
use crate::http::reply::{Kind, Reply};
use serde::Serialize;
use souk_web::etag;
use spin_sdk::wasip3::http::types::Method;
use std::sync::OnceLock;

/// The description, as OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("../../openapi.json");
/// The description as an HTML page.
pub(super) const PAGE: &str = include_str!("../../docs.html");
/// Their entity tags. Each instance computes them once, because hashing a body costs more than the rest of the request.
static DOCUMENT_TAG: OnceLock<String> = OnceLock::new();
static PAGE_TAG: OnceLock<String> = OnceLock::new();
/// The page's `Content-Security-Policy`: it may use only its own inline style sheet, script and icon, and send requests
/// only to this server. A test compares the hashes.
pub(super) const POLICY: &str = "default-src 'none'; img-src data:; connect-src 'self'; \
                          style-src 'sha256-eI8OH7SKopJIlZZJqbde4MVjuEs7UC6ifa3JkXrgBmI='; \
                          script-src 'sha256-Av9PRNN6BgR3397EN0dvAZ32oins4NtoCGtdExSdjeg='; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers a request for `/api/openapi.json` or `/api/docs`.
pub(super) fn route(request: &Request<'_>, resource: &str, rest: &[&str]) -> Result<Reply, Error> {
    let (body, kind, tag) = match (request.method, rest, resource) {
        (Method::Get | Method::Head, [], "docs") => (PAGE, Kind::Page(POLICY), &PAGE_TAG),
        (Method::Get | Method::Head, [], _) => (DOCUMENT, Kind::Json, &DOCUMENT_TAG),
        _ => return Err(no_route(request)),
    };
    let tag = Some(tag.get_or_init(|| etag::of(body.as_bytes())).clone());
    Ok(Reply { status: 200, body: body.into(), kind, public: true, retry_after: None, tag })
}

/// The body of the answer at `/`.
#[derive(Serialize)]
struct Entry {
    message: &'static str,
    docs: &'static str,
    openapi: &'static str,
}

/// The answer at `/`: it says where the documentation is.
pub(super) fn entry() -> Result<Reply, Error> {
    let message = "This is the API of an online store";
    Ok(Reply::json(200, &Entry { message, docs: "/api/docs", openapi: "/api/openapi.json" })?.public())
}
