//! A response, for either interface.

use super::{contents, plain};
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields};
use spin_sdk::wasip3::wit_future;

/// The header that keeps a browser from interpreting a body as another type than the declared one.
pub const NOSNIFF: (&str, &str) = ("x-content-type-options", "nosniff");

/// A complete response.
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Response {
    /// A response with these headers and [`NOSNIFF`]. `body` is `None` for a response without content, even if its
    /// headers have a length.
    pub fn new(status: u16, mut headers: Vec<(String, Vec<u8>)>, body: Option<Vec<u8>>) -> Self {
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

    /// The body; empty if there is none.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
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
        let (response, _transmitted) = types::Response::new(headers, self.body.map(contents), trailers);
        if self.status != 200 {
            response.set_status_code(self.status).map_err(|()| refused("a response status was refused"))?;
        }
        Ok(response)
    }

    /// The response as plain values.
    pub fn into_plain(self) -> plain::Response {
        plain::Response { status: self.status, fields: self.headers, body: self.body.unwrap_or_default() }
    }
}
