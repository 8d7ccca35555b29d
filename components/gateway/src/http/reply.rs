//! Responses: JSON with a length, an entity tag, and 304 for a client that has the body already.

use super::error::Error;
use super::{etag, header};
use serde::Serialize;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields as Headers, Method, Response};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

/// An answer, before HTTP's own rules are applied to it.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, as JSON.
    pub body: Vec<u8>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u8>,
}

impl Reply {
    /// An answer that carries `value`.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(|e| Error::internal(&e.to_string()))?;
        Ok(Reply { status, body, retry_after: None })
    }

    /// Sends the answer to a request with this method and these headers.
    ///
    /// # Errors
    /// When the host refuses a header, which none of these gives it a reason to.
    pub fn send(self, method: &Method, request: &Headers) -> Result<Response, ErrorCode> {
        let tag = etag::of(&self.body);
        let cacheable = matches!(method, Method::Get | Method::Head) && self.status == 200;
        if cacheable && is_fresh(request, &tag) {
            return respond(304, &[("etag".to_owned(), tag.into_bytes())], None);
        }
        let mut headers = vec![
            ("content-type".to_owned(), b"application/json; charset=utf-8".to_vec()),
            // With its length the body goes out in one write with the headers, not in chunks.
            ("content-length".to_owned(), self.body.len().to_string().into_bytes()),
            ("etag".to_owned(), tag.into_bytes()),
        ];
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after".to_owned(), seconds.to_string().into_bytes()));
        }
        let body = (!matches!(method, Method::Head)).then_some(self.body);
        respond(self.status, &headers, body)
    }
}

/// Whether the client has the body with this tag. `Cache-Control: no-cache` asks for it anyway, as in Express.
fn is_fresh(request: &Headers, tag: &str) -> bool {
    header(request, "if-none-match").is_some_and(|wanted| etag::matches(&wanted, tag))
        && !header(request, "cache-control").is_some_and(|control| control.contains("no-cache"))
}

fn respond(status: u16, headers: &[(String, Vec<u8>)], body: Option<Vec<u8>>) -> Result<Response, ErrorCode> {
    let refused = |what: &str| ErrorCode::InternalError(Some(what.to_owned()));
    let headers = Headers::from_list(headers).map_err(|_| refused("a response header was refused"))?;
    // A writer that is dropped ends the message without trailers.
    let (_, trailers) = wit_future::new(|| Ok(None));
    let contents = body.map(|body| {
        let (mut writer, contents) = wit_stream::new();
        spawn(async move {
            // What remains is what a client that went away did not take.
            let _unread = writer.write_all(body).await;
        });
        contents
    });
    let (response, _transmitted) = Response::new(headers, contents, trailers);
    if status != 200 {
        response.set_status_code(status).map_err(|()| refused("a response status was refused"))?;
    }
    Ok(response)
}
