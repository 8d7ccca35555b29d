//! A request, through either interface.

use super::{BodyError, collect, header, joined};
use memchr::memchr;
use spin_sdk::wasip3::http::types::{self, Fields, Method};
use spin_sdk::wasip3::wit_future;

/// A request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, as the client sent them.
    pub target: String,
    /// The headers.
    pub headers: Headers,
    body: Body,
}

/// The headers of a request.
pub enum Headers {
    /// In the host. Each lookup is a call into it.
    Wasi(Fields),
    /// In this instance, one header per line.
    Plain(Vec<u8>),
}

enum Body {
    /// `None` after it was read.
    Wasi(Option<types::Request>),
    Plain(Vec<u8>),
}

impl Headers {
    /// The value of a header; several lines are joined as in RFC 9110, section 5.3.
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            Headers::Wasi(fields) => header(fields, name),
            Headers::Plain(lines) => joined(values(lines, name)),
        }
    }
}

/// The values of the lines with this name. It is in lower case, like the names in the lines.
fn values<'a>(mut lines: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    std::iter::from_fn(move || {
        while !lines.is_empty() {
            // Byte by byte, a request's lines cost as much as the rest of a small answer.
            let (line, rest) = lines.split_at(memchr(b'\n', lines).map_or(lines.len(), |end| end + 1));
            lines = rest;
            if let Some(value) = line.strip_prefix(name.as_bytes()).and_then(|line| line.strip_prefix(b": ")) {
                let value = value.strip_suffix(b"\n").unwrap_or(value);
                return Some(value.strip_suffix(b"\r").unwrap_or(value));
            }
        }
        None
    })
}

impl Request {
    /// A request that arrived through `wasi:http/handler`.
    pub fn of_wasi(request: types::Request) -> Self {
        Request {
            method: request.get_method(),
            target: request.get_path_with_query().unwrap_or_else(|| "/".to_owned()),
            headers: Headers::Wasi(request.get_headers()),
            body: Body::Wasi(Some(request)),
        }
    }

    /// A request that arrived as plain values.
    pub fn of_plain(request: super::plain::Request) -> Self {
        Request {
            method: method(request.method),
            target: request.target,
            headers: Headers::Plain(request.fields),
            body: Body::Plain(request.body),
        }
    }

    /// The bytes of the body as they were sent, at most `limit`. A body with a larger announced length is refused
    /// without being read. A second call returns an empty body.
    ///
    /// # Errors
    /// When the body is too large or breaks off.
    pub async fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        match &mut self.body {
            Body::Plain(body) if body.len() > limit => Err(BodyError::TooLarge),
            Body::Plain(body) => Ok(std::mem::take(body)),
            Body::Wasi(request) => {
                let Some(request) = request.take() else { return Ok(Vec::new()) };
                let length = self.headers.get("content-length").and_then(|length| length.parse().ok());
                if length.is_some_and(|length: usize| length > limit) {
                    return Err(BodyError::TooLarge);
                }
                let (_done, done) = wit_future::new(|| Ok(()));
                let (stream, trailers) = types::Request::consume_body(request, done);
                collect(stream, trailers, length, limit).await
            }
        }
    }
}

/// The method with this name.
fn method(name: String) -> Method {
    match name.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"accept: */*\r\nx-a: 1\r\nx-ab: 2\r\nx-a: \xff\r\nlast: \r\n";

    #[test]
    fn a_header_is_found_by_its_whole_name_and_its_lines_are_joined() {
        let headers = Headers::Plain(LINES.to_vec());
        for (name, value) in [("accept", Some("*/*")), ("x-a", Some("1, \u{fffd}")), ("last", Some("")), ("x", None)] {
            assert_eq!(headers.get(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn every_method_keeps_its_name() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "get", "QUERY"] {
            assert_eq!(super::super::method_name(&method(name.to_owned())), name);
        }
    }
}
