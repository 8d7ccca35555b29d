//! HTTP of a call that is recorded or replayed: copies bodies as they pass, and answers requests from the recording.

use super::{MAX_RECORDING_BYTES, Tape};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use wasmtime_wasi_http::{Error, WasiBody};

/// The name of the import in recordings.
const IMPORT: &str = "wasi:http#send";

/// Stands for the body of a request that was not sent completely.
const NOT_SENT: &str = "(not sent to its end)";

/// The prefix of a body that is not text.
const HEXADECIMAL: &str = "hex:";

/// Bytes as text: unchanged if they are UTF-8 text, otherwise in hexadecimal.
pub fn shown_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(HEXADECIMAL) => text.to_owned(),
        _ => format!("{HEXADECIMAL}{}", hex::encode(bytes)),
    }
}

/// The reverse of [`shown_bytes`].
pub fn hidden_bytes(text: &str) -> Vec<u8> {
    let decoded = text.strip_prefix(HEXADECIMAL).and_then(|digits| hex::decode(digits).ok());
    decoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Headers in their order.
pub fn shown_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown_bytes(value.as_bytes()))).collect()
}

/// The reverse of [`shown_headers`].
pub fn hidden_headers(shown: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in shown {
        let value = HeaderValue::from_bytes(&hidden_bytes(value));
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Called when a body is dropped: with the bytes that have passed (`None` if they were too many to keep), and whether
/// the body was complete.
type OnDrop = Box<dyn FnOnce(Option<Vec<u8>>, bool) + Send>;

/// A body that is copied as it passes.
pub struct Teed<B> {
    body: B,
    copy: Option<Vec<u8>>,
    whole: bool,
    end: Option<OnDrop>,
}

impl<B: Body> Teed<B> {
    /// Calls `end` with the bytes that have passed, when `body` is dropped.
    pub fn new(body: B, end: impl FnOnce(Option<Vec<u8>>, bool) + Send + 'static) -> Self {
        Teed { whole: body.is_end_stream(), body, copy: Some(Vec::new()), end: Some(Box::new(end)) }
    }
}

impl<B> Drop for Teed<B> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.copy.take(), self.whole);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Teed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(copy)) = (frame.data_ref(), &mut self.copy)
        {
            copy.extend_from_slice(data);
            if copy.len() > MAX_RECORDING_BYTES {
                self.copy = None;
            }
        }
        self.whole |= frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer to a request.
#[derive(Serialize, Deserialize)]
enum Sent {
    Response { status: u16, headers: Vec<(String, String)>, body: String },
    Failed(String),
}

/// An error code by its name.
type Code = (&'static str, fn() -> Error);

/// The error codes without a value, which a replay returns unchanged.
const CODES: &[Code] = &[
    ("DestinationNotFound", || Error::DestinationNotFound),
    ("DestinationUnavailable", || Error::DestinationUnavailable),
    ("DestinationIpProhibited", || Error::DestinationIpProhibited),
    ("DestinationIpUnroutable", || Error::DestinationIpUnroutable),
    ("ConnectionRefused", || Error::ConnectionRefused),
    ("ConnectionTerminated", || Error::ConnectionTerminated),
    ("ConnectionTimeout", || Error::ConnectionTimeout),
    ("ConnectionReadTimeout", || Error::ConnectionReadTimeout),
    ("ConnectionLimitReached", || Error::ConnectionLimitReached),
    ("TlsProtocolError", || Error::TlsProtocolError),
    ("TlsCertificateError", || Error::TlsCertificateError),
    ("HttpRequestDenied", || Error::HttpRequestDenied),
    ("HttpRequestMethodInvalid", || Error::HttpRequestMethodInvalid),
    ("HttpRequestUriInvalid", || Error::HttpRequestUriInvalid),
    ("HttpResponseIncomplete", || Error::HttpResponseIncomplete),
    ("HttpResponseTimeout", || Error::HttpResponseTimeout),
    ("HttpProtocolError", || Error::HttpProtocolError),
    ("LoopDetected", || Error::LoopDetected),
];

fn code(name: &str) -> Error {
    let known = CODES.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| Error::InternalError(Some(name.to_owned())), |(_, code)| code())
}

fn arguments(head: &http::request::Parts, body: &str) -> String {
    // These headers differ in each call.
    let headers: Vec<_> = shown_headers(&head.headers)
        .into_iter()
        .filter(|(name, _)| name != "traceparent" && name != "tracestate")
        .collect();
    format!("{} {} {headers:?} {body:?}", head.method, head.uri)
}

/// Reserves the entry of a request that is about to be sent. It must happen now, because the request runs in parallel
/// with the guest's next steps.
pub(crate) fn begin(tape: &Tape) -> wasmtime::Result<usize> {
    tape.reserve(IMPORT)
}

/// Sends `request` with `live` and records it, or answers it from the recording.
///
/// # Errors
/// The errors of `live`, or that the replay differs.
pub(crate) async fn send<F>(
    tape: Arc<Tape>,
    slot: wasmtime::Result<usize>,
    request: Request<WasiBody>,
    live: impl FnOnce(Request<WasiBody>) -> F,
) -> Result<Response<WasiBody>, Error>
where
    F: Future<Output = Result<Response<WasiBody>, Error>>,
{
    let (head, body) = request.into_parts();
    let differs = |error: wasmtime::Error| Error::InternalError(Some(error.to_string()));
    let slot = slot.map_err(differs)?;
    if tape.is_replayed() {
        let body = Limited::new(body, MAX_RECORDING_BYTES).collect().await.map_err(|_| Error::ConnectionTerminated)?;
        let asked = arguments(&head, &shown_bytes(&body.to_bytes()));
        let unsent = arguments(&head, NOT_SENT);
        let sent = tape.played_at(slot, IMPORT, &[&asked, &unsent]).map_err(differs)?;
        let sent = serde_json::from_str(sent.get()).map_err(|error| Error::InternalError(Some(error.to_string())))?;
        return match sent {
            Sent::Failed(name) => Err(code(&name)),
            Sent::Response { status, headers, body } => {
                let body = Full::new(Bytes::from(hidden_bytes(&body))).map_err(|never| match never {}).boxed_unsync();
                let mut response = Response::new(body);
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                *response.headers_mut() = hidden_headers(&headers);
                Ok(response)
            }
        };
    }
    let asked = Arc::new(Mutex::new(Some(head.clone())));
    let end = {
        let (tape, asked) = (tape.clone(), asked.clone());
        move |body: Option<Vec<u8>>, whole: bool| match (asked.lock().take(), body) {
            // The server did not read the whole body, or there was no server.
            (Some(head), _) if !whole => tape.arguments(slot, &arguments(&head, NOT_SENT)),
            (Some(head), Some(body)) => tape.arguments(slot, &arguments(&head, &shown_bytes(&body))),
            _ => tape.cannot_be_kept("it sends more than a recording holds".to_owned()),
        }
    };
    match live(Request::from_parts(head, Teed::new(body, end).boxed_unsync())).await {
        Err(error) => {
            let name = format!("{error:?}");
            let name = CODES.iter().find(|(known, _)| *known == name).map_or("other", |(known, _)| *known);
            tape.fill(slot, &Sent::Failed(name.to_owned()));
            Err(error)
        }
        Ok(response) => {
            let (status, headers) = (response.status().as_u16(), shown_headers(response.headers()));
            let end = move |body: Option<Vec<u8>>, _| match body {
                Some(body) => tape.fill(slot, &Sent::Response { status, headers, body: shown_bytes(&body) }),
                None => tape.cannot_be_kept("it gets more than a recording holds".to_owned()),
            };
            Ok(response.map(|body| Teed::new(body, end).boxed_unsync()))
        }
    }
}
