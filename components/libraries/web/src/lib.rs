//! HTTP for components: bodies with a size limit, headers, entity tags, and sending responses and requests.
//!
//! ```ignore
//! use souk_web::{BodyError, Request, Response};
//! use spin_sdk::wasip3::exports::http::handler;
//! use spin_sdk::wasip3::http::types;
//!
//! const MAX_BODY_BYTES: usize = 64 << 10;
//!
//! struct Component;
//! spin_sdk::wasip3::http::service::export!(Component with_types_in spin_sdk::wasip3);
//!
//! impl handler::Guest for Component {
//!     async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
//!         answer(Request::of_wasi(request)).await.into_wasi()
//!     }
//! }
//!
//! async fn answer(mut request: Request) -> Response {
//!     match request.body(MAX_BODY_BYTES).await {
//!         Ok(body) => Response::new(200, vec![("content-type".to_owned(), b"text/plain".to_vec())], Some(body)),
//!         Err(BodyError::TooLarge) => Response::new(413, Vec::new(), None),
//!         Err(BodyError::Aborted) => Response::new(400, Vec::new(), None),
//!     }
//! }
//! ```
//!
//! A request arrives through `wasi:http/handler`, or as plain values through `souk:http/handler` if the component
//! exports that too, as [`plain`] shows; [`Request`] is either. Of a `wasi:http` request, this library reads only what
//! is needed: to copy all of it into an `http::Request`, as spin-sdk's `#[http_service]` does, costs a dozen calls into
//! the host, and this library needs four. It knows no routes and no error shapes.

pub mod client;
pub mod etag;
pub mod plain;
mod request;
mod response;

pub use request::{Headers, Request};
pub use response::{NOSNIFF, Parts, Response};

use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Method, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult};
use spin_sdk::wasip3::{spawn, wit_stream};

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than the limit.
    TooLarge,
    /// The connection broke before its end.
    Aborted,
}

/// The bytes of a body; `length` is the announced length.
async fn collect(
    mut stream: StreamReader<u8>,
    trailers: FutureReader<Result<Option<Trailers>, ErrorCode>>,
    length: Option<usize>,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    // One byte more than announced, so that the read that finds the end needs no larger buffer.
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
    // The trailers have the error if the body broke off.
    trailers.await.map_err(|_| BodyError::Aborted)?;
    Ok(bytes)
}

/// The value of a header; several lines are joined as in RFC 9110, section 5.3.
pub fn header(headers: &Fields, name: &str) -> Option<String> {
    joined(headers.get(name).iter().map(Vec::as_slice))
}

/// The lines of one header as one value.
fn joined<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut lines = lines.map(String::from_utf8_lossy);
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |all, line| all + ", " + &line))
}

/// The name of a method, as in the request line.
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

/// A body that is written while the other side reads it.
fn contents(body: Vec<u8>) -> StreamReader<u8> {
    let (mut writer, contents) = wit_stream::new();
    spawn(async move {
        // What remains was not read by a peer that has gone away.
        let _unread = writer.write_all(body).await;
    });
    contents
}

/// A body that is made while the other side reads it.
fn streamed(mut parts: Parts) -> StreamReader<u8> {
    let (mut writer, contents) = wit_stream::new();
    spawn(async move {
        while let Some(part) = parts() {
            // What remains was not read by a peer that has gone away.
            if !writer.write_all(part).await.is_empty() {
                break;
            }
        }
    });
    contents
}
