//! A response, for either interface.

use super::{contents, plain, streamed};
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields};
use spin_sdk::wasip3::wit_future;

/// The header that keeps a browser from interpreting a body as another type than the declared one.
pub const NOSNIFF: (&str, &str) = ("x-content-type-options", "nosniff");

/// The parts of a body that is sent while it is made: each part when the client has read the preceding one, until there
/// are no more.
pub type Parts = Box<dyn FnMut() -> Option<Vec<u8>>>;

/// A response.
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Body,
}

enum Body {
    None,
    Whole(Vec<u8>),
    Parts(Parts),
}

impl Response {
    /// A response with these headers and [`NOSNIFF`]. `body` is `None` for a response without content, even if its
    /// headers have a length.
    pub fn new(status: u16, headers: Vec<(String, Vec<u8>)>, body: Option<Vec<u8>>) -> Self {
        Self::with_body(status, headers, body.map_or(Body::None, Body::Whole))
    }

    /// A response whose body is a stream of parts, with these headers and [`NOSNIFF`].
    pub fn stream(status: u16, headers: Vec<(String, Vec<u8>)>, parts: Parts) -> Self {
        Self::with_body(status, headers, Body::Parts(parts))
    }

    fn with_body(status: u16, mut headers: Vec<(String, Vec<u8>)>, body: Body) -> Self {
        let (name, value) = NOSNIFF;
        headers.push((name.to_owned(), value.into()));
        Response { status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(of, _)| of == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The body; empty if there is none, or if it is a stream.
    pub fn body(&self) -> &[u8] {
        match &self.body {
            Body::Whole(body) => body,
            Body::None | Body::Parts(_) => &[],
        }
    }

    /// The response for `wasi:http/handler`.
    ///
    /// # Errors
    /// When the host refuses a header or the status.
    pub fn into_wasi(self) -> Result<types::Response, ErrorCode> {
        let refused = |what: &str| ErrorCode::InternalError(Some(what.to_owned()));
        let headers = Fields::from_list(&self.headers).map_err(|_| refused("a response header was refused"))?;
        // Dropping the writer ends the message without trailers.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let body = match self.body {
            Body::None => None,
            Body::Whole(body) => Some(contents(body)),
            Body::Parts(parts) => Some(streamed(parts)),
        };
        let (response, _transmitted) = types::Response::new(headers, body, trailers);
        if self.status != 200 {
            response.set_status_code(self.status).map_err(|()| refused("a response status was refused"))?;
        }
        Ok(response)
    }

    /// The response as plain values. A stream has none, so the host sends the request again, through
    /// `wasi:http/handler`; what made the stream must have changed nothing.
    pub fn into_plain(self) -> plain::Response {
        let body = match self.body {
            Body::None => Vec::new(),
            Body::Whole(body) => body,
            Body::Parts(_) => return plain::Response { status: 0, fields: Vec::new(), body: Vec::new() },
        };
        plain::Response { status: self.status, fields: self.headers, body }
    }
}
