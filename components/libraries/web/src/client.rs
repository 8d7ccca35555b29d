//! Sends one HTTP request and waits for the answer, without `async`.
//!
//! A `func` (of a contract, or `handle` of plain values) may wait only in synchronous calls. Therefore this module uses
//! `wasi:http/outgoing-handler` of WASI 0.2, which waits with `wasi:io/poll`. One time limit covers a request from its
//! first byte to the last byte of its answer; a late request is dropped, which cancels it in the host too.

use std::time::Duration;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
pub use wasip2::http::types::{ErrorCode, Method};
use wasip2::http::types::{Fields, IncomingBody, IncomingResponse, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// The most bytes that are read at a time.
const MAX_READ_BYTES: u64 = 64 << 10;

/// A request to a URL with a scheme and a host.
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URL.
    pub url: &'a str,
    /// The headers.
    pub headers: &'a [(String, Vec<u8>)],
    /// The body.
    pub body: Option<&'a [u8]>,
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: Fields,
    // Declared after the headers, because it must be dropped after them.
    _response: IncomingResponse,
}

impl Response {
    /// The first value of a header. Each call is a call into the host.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name)
    }
}

/// Why there is no complete answer.
#[derive(Debug)]
pub enum SendError {
    /// The host's error.
    Host(ErrorCode),
    /// The time limit has passed.
    TimedOut,
    /// The answer's body is larger than the limit.
    TooLarge,
    /// The connection broke before the end of the answer's body.
    Aborted,
}

impl From<ErrorCode> for SendError {
    fn from(code: ErrorCode) -> SendError {
        SendError::Host(code)
    }
}

/// Sends `request` and reads the answer within `timeout`, with a body of at most `limit` bytes.
///
/// # Errors
/// When the host refuses the request or gets no answer, when the time limit passes, and when the answer's body is too
/// large or breaks off.
pub fn send(request: &Request<'_>, timeout: Duration, limit: usize) -> Result<Response, SendError> {
    let clock = Clock(subscribe_duration(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)));
    let outgoing = outgoing(request)?;
    let body = outgoing.body().map_err(|()| internal("the request has no body"))?;
    let answer = handle(outgoing, None)?;
    // A server may answer before it has read the whole body. Then its answer explains more than the failed write does.
    let written = write(body, request.body.unwrap_or_default(), &clock);
    if matches!(written, Err(SendError::TimedOut)) {
        return Err(SendError::TimedOut);
    }
    clock.wait(&answer.subscribe())?;
    let response = match answer.get() {
        Some(Ok(response)) => response?,
        Some(Err(())) | None => return Err(internal("the host has no answer").into()),
    };
    let (status, headers) = (response.status(), response.headers());
    let body = read(&response, &headers, &clock, limit)?;
    Ok(Response { status, body, headers, _response: response })
}

fn header(headers: &Fields, name: &str) -> Option<String> {
    headers.get(name).first().map(|line| String::from_utf8_lossy(line).into_owned())
}

fn outgoing(request: &Request<'_>) -> Result<OutgoingRequest, ErrorCode> {
    let headers = Fields::from_list(request.headers).map_err(|error| internal(&error.to_string()))?;
    let outgoing = OutgoingRequest::new(headers);
    let (scheme, rest) = request.url.split_once("://").ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let refused = |()| ErrorCode::HttpRequestUriInvalid;
    outgoing.set_method(request.method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    outgoing.set_scheme(Some(&scheme)).map_err(refused)?;
    outgoing.set_authority(Some(authority)).map_err(refused)?;
    outgoing.set_path_with_query(Some(target)).map_err(refused)?;
    Ok(outgoing)
}

fn write(body: OutgoingBody, bytes: &[u8], clock: &Clock) -> Result<(), SendError> {
    let stream = body.write().map_err(|()| internal("the body cannot be written"))?;
    let written = write_all(&stream, bytes, clock);
    // The stream must be dropped before the body can finish.
    drop(stream);
    written?;
    OutgoingBody::finish(body, None).map_err(SendError::Host)
}

fn write_all(stream: &OutputStream, mut bytes: &[u8], clock: &Clock) -> Result<(), SendError> {
    let aborted = |_| SendError::Aborted;
    while !bytes.is_empty() {
        let max = usize::try_from(stream.check_write().map_err(aborted)?).unwrap_or(usize::MAX);
        if max == 0 {
            clock.wait(&stream.subscribe())?;
            continue;
        }
        let (now, later) = bytes.split_at(max.min(bytes.len()));
        stream.write(now).map_err(aborted)?;
        bytes = later;
    }
    stream.flush().map_err(aborted)
}

fn read(response: &IncomingResponse, headers: &Fields, clock: &Clock, limit: usize) -> Result<Vec<u8>, SendError> {
    let length = header(headers, "content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length > limit) {
        return Err(SendError::TooLarge);
    }
    let body: IncomingBody = response.consume().map_err(|()| SendError::Aborted)?;
    let stream = body.stream().map_err(|()| SendError::Aborted)?;
    let bytes = read_all(&stream, clock, length, limit);
    // The stream must be dropped before the body.
    drop(stream);
    bytes
}

fn read_all(stream: &InputStream, clock: &Clock, length: Option<usize>, limit: usize) -> Result<Vec<u8>, SendError> {
    let mut bytes = Vec::with_capacity(length.unwrap_or(4096));
    loop {
        match stream.read(MAX_READ_BYTES) {
            Ok(more) if more.is_empty() => clock.wait(&stream.subscribe())?,
            Ok(more) if bytes.len() + more.len() > limit => return Err(SendError::TooLarge),
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(SendError::Aborted),
        }
    }
}

fn internal(what: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(what.to_owned()))
}

/// Ready when the time limit has passed.
struct Clock(Pollable);

impl Clock {
    /// Waits until `event` is ready.
    fn wait(&self, event: &Pollable) -> Result<(), SendError> {
        // Position 0 is the event: if both are ready, the event counts.
        if poll(&[event, &self.0]).contains(&0) { Ok(()) } else { Err(SendError::TimedOut) }
    }
}
