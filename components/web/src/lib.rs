//! What the components that serve HTTP share: reading a body within bounds, headers, entity tags, sending a response.
//!
//! It works on `wasi:http` itself: copying a request into an `http::Request`, as spin-sdk's `#[http_service]` does, costs
//! a dozen calls into the host where these components need four. It knows no route, no shape of an error, no service.

pub mod etag;

use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use spin_sdk::wasip3::wit_bindgen::StreamResult;
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than the limit.
    TooLarge,
    /// It ended before its time.
    Aborted,
}

/// The bytes of a request's body, as they were sent; at most `limit`. A body whose announced length is larger is
/// refused unread.
///
/// # Errors
/// When it is too large or breaks off.
pub async fn read(request: Request, headers: &Fields, limit: usize) -> Result<Vec<u8>, BodyError> {
    let length = header(headers, "content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length > limit) {
        return Err(BodyError::TooLarge);
    }
    let (_done, done) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Request::consume_body(request, done);
    // One byte more than announced: the read that finds the end then needs no other buffer.
    let mut bytes = Vec::with_capacity(length.unwrap_or(4096) + 1);
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.len());
        }
        let (status, filled) = stream.read(bytes).await;
        bytes = filled;
        if bytes.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if !matches!(status, StreamResult::Complete(_)) {
            break;
        }
    }
    // The trailers carry the reason when the body ended before its time.
    trailers.await.map_err(|_| BodyError::Aborted)?;
    Ok(bytes)
}

/// The value of a header that has one line at most; several lines are joined as RFC 9110 section 5.3 has it.
pub fn header(headers: &Fields, name: &str) -> Option<String> {
    let lines = headers.get(name);
    let mut lines = lines.iter().map(|line| String::from_utf8_lossy(line));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |all, line| all + ", " + &line))
}

/// A method, as the request line wrote it.
pub fn method_name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    }
}

/// A response; `body` is `None` for one that has no content, whatever its headers say of a length.
///
/// # Errors
/// When the host refuses a header or the status.
pub fn respond(status: u16, headers: &[(String, Vec<u8>)], body: Option<Vec<u8>>) -> Result<Response, ErrorCode> {
    let refused = |what: &str| ErrorCode::InternalError(Some(what.to_owned()));
    let headers = Fields::from_list(headers).map_err(|_| refused("a response header was refused"))?;
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
