//! A request's body as the bytes that were sent, for those are what is signed: of any content type, and still encoded
//! when a `Content-Encoding` says so.
//!
//! It refuses a body of more than [`LIMIT`], by its announced length where it has one.

use super::header;
use super::reply::Reply;
use spin_sdk::wasip3::http::types::{Fields as Headers, Request};
use spin_sdk::wasip3::wit_bindgen::StreamResult;
use spin_sdk::wasip3::wit_future;

/// The most bytes of an event. Those of charges and sessions have 2 to 10 KiB; metadata can add 25 KiB at most.
const LIMIT: usize = 256 * 1024;

/// The bytes of a request's body.
///
/// # Errors
/// 413 when there are too many, 400 when they end before their time.
pub async fn read(request: Request, headers: &Headers) -> Result<Vec<u8>, Reply> {
    let length = header(headers, "content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length > LIMIT) {
        return Err(too_large());
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
        if bytes.len() > LIMIT {
            return Err(too_large());
        }
        if !matches!(status, StreamResult::Complete(_)) {
            break;
        }
    }
    // The trailers carry the reason when the body ended before its time.
    trailers.await.map_err(|_| Reply::protocol(400, "request aborted"))?;
    Ok(bytes)
}

fn too_large() -> Reply {
    Reply::protocol(413, "request entity too large")
}
