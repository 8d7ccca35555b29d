//! Responses: a body with its length and entity tag, 304 for a client that has it already, and the headers that follow
//! from the status.

use super::error::Error;
use serde::Serialize;
use souk_web::{Headers, Parts, Response, etag};
use spin_sdk::wasip3::http::types::Method;

/// The `Retry-After` of a 503, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An answer, before HTTP's own rules are applied to it.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub status: u16,
    /// The body, or the beginning of it.
    pub body: Vec<u8>,
    /// The rest of a body that is sent while it is made.
    pub rest: Option<Rest>,
    /// What the body is.
    pub kind: Kind,
    /// Whether the body is for everyone. Any other is sent with `Cache-Control: no-store`.
    pub public: bool,
    /// In how many seconds the request can be made again, where that is known.
    pub retry_after: Option<u32>,
    /// The body's entity tag, where it is known.
    pub tag: Option<String>,
}

/// The rest of a body.
pub(crate) struct Rest(pub Parts);

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Json,
    /// A page, with the `Content-Security-Policy` that it needs.
    Page(&'static str),
    /// A table to be saved under this name.
    Csv(&'static str),
}

impl Reply {
    /// An answer that carries `value`, for the one who asked.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(|e| Error::internal(&e.to_string()))?;
        Ok(Reply { status, body, rest: None, kind: Kind::Json, public: false, retry_after: None, tag: None })
    }

    /// The same answer, for anyone: it depends on no token and tells nothing about a user.
    pub(crate) fn public(self) -> Self {
        Reply { public: true, ..self }
    }

    /// The response to a request with this method and the headers `request`; `headers` are added to the response.
    pub(crate) fn send(self, method: &Method, request: &Headers, mut headers: Vec<(String, Vec<u8>)>) -> Response {
        if !self.public {
            headers.push(("cache-control".to_owned(), b"no-store".to_vec()));
        }
        // The rest of a body is not known yet, so it has neither a tag nor a length.
        if self.rest.is_none() {
            let tag = self.tag.unwrap_or_else(|| etag::of(&self.body));
            let cacheable = matches!(method, Method::Get | Method::Head) && self.status == 200;
            // A 304 has it too: RFC 9110, section 15.4.5.
            headers.push(("etag".to_owned(), tag.clone().into_bytes()));
            if cacheable && is_fresh(request, &tag) {
                return Response::new(304, headers, None);
            }
            // With its length the body goes out in one write with the headers, not in chunks.
            headers.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        }
        let content_type = match self.kind {
            Kind::Json => "application/json; charset=utf-8",
            Kind::Page(_) => "text/html; charset=utf-8",
            Kind::Csv(_) => "text/csv; charset=utf-8; header=present",
        };
        headers.push(("content-type".to_owned(), content_type.into()));
        if let Kind::Page(policy) = self.kind {
            headers.push(("content-security-policy".to_owned(), policy.into()));
        }
        if let Kind::Csv(name) = self.kind {
            headers.push(("content-disposition".to_owned(), format!("attachment; filename=\"{name}\"").into_bytes()));
        }
        if self.status == 401 {
            headers.push(("www-authenticate".to_owned(), b"Bearer".to_vec()))
        }
        if let Some(seconds) = self.retry_after.or((self.status == 503).then_some(RETRY_AFTER_SECONDS)) {
            headers.push(("retry-after".to_owned(), seconds.to_string().into_bytes()));
        }
        match (method, self.rest) {
            (Method::Head, _) => Response::new(self.status, headers, None),
            (_, None) => Response::new(self.status, headers, Some(self.body)),
            (_, Some(Rest(mut rest))) => {
                let mut first = Some(self.body);
                Response::stream(self.status, headers, Box::new(move || first.take().or_else(&mut rest)))
            }
        }
    }
}

/// Whether the client already has the body with this tag. As in Express, with `Cache-Control: no-cache` it gets the
/// body anyway.
fn is_fresh(request: &Headers, tag: &str) -> bool {
    request.get("if-none-match").is_some_and(|wanted| etag::matches(&wanted, tag))
        && !request.get("cache-control").is_some_and(|control| control.contains("no-cache"))
}
