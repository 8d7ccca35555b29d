//! Response bodies in the HTTP server: small ones are buffered.
//!
//! A length that a guest announces is only checked against the body (`souk_bindings::framing`); the host itself sets
//! the length when it knows it. A guest's body usually has no length. The host reads a small one to its end before it
//! sends the response's head: the response then has a `content-length`, head and body leave in one write, and the
//! guest's instance is free again at once. Without a length, HTTP/1.1 needs a chunked body; together with a delayed
//! acknowledgement that costs a typical server 44 ms per response.

use super::outgoing::{Chunk, Outgoing};
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderValue, Response, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use souk_bindings::framing::{self, has_no_content};
use souk_links::remote::whole_body::Trailers;
use souk_manifest::StaticResponse;
use souk_runtime::ResponseBody;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use wasmtime_wasi_http::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of responses.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The largest response body that is sent as a whole, with its length; a larger one is streamed.
    pub const MAX_SMALL_BODY_BYTES: usize = 64 * 1024, bytes;
    /// How long to wait for the end of a small body. Components write a small body at once; a streamed body is delayed
    /// by no more than this.
    const SMALL_BODY_TIMEOUT: Duration = Duration::from_millis(10);
}

/// The content of a file.
pub(super) type FileBody = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send>>;

/// A response's body on its way to the client.
#[derive(Default)]
pub struct EdgeBody {
    /// What has been read already, and charged; it is sent first.
    ready: Bytes,
    /// How many bytes `outgoing` keeps, of those that are sent first.
    kept: usize,
    /// What the guest still writes.
    rest: Option<ResponseBody>,
    /// The rest that is read from a file.
    file: Option<FileBody>,
    trailers: Option<HeaderMap>,
    length: Option<u64>,
    /// The account of the response; `None` until it is being sent.
    outgoing: Option<Arc<Outgoing>>,
}

impl EdgeBody {
    /// A body that is completely in memory.
    pub fn full(ready: Bytes) -> Self {
        let mut body = EdgeBody::default();
        (body.length, body.ready) = (Some(ready.len() as u64), ready);
        body
    }

    /// A body that is read from a file during sending.
    pub fn file(file: FileBody) -> Self {
        let mut body = EdgeBody::default();
        body.file = Some(file);
        body
    }

    /// Charges the body to `outgoing`: the buffered part now, and each further part when it arrives.
    pub fn send(&mut self, outgoing: Arc<Outgoing>) {
        self.outgoing = Some(outgoing);
        let ready = mem::take(&mut self.ready);
        self.charge(ready);
    }

    /// Charges `bytes`, which are sent next.
    fn charge(&mut self, bytes: Bytes) {
        let Some(outgoing) = &self.outgoing else {
            self.ready = bytes;
            return;
        };
        let length = bytes.len();
        outgoing.charge(length);
        match outgoing.keep(bytes) {
            Ok(()) => self.kept = length,
            Err(bytes) => self.ready = bytes,
        }
    }

    /// The length in bytes, if known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next piece of what is ready; `None` if nothing is.
    fn piece(&mut self) -> Option<Result<Chunk, Error>> {
        match &self.outgoing {
            Some(outgoing) if self.kept > 0 => {
                // A request that was ended has nothing left, and its client must not take the response for a whole one.
                let Some(piece) = outgoing.piece() else { return Some(Err(Error::InternalError(None))) };
                self.kept = self.kept.saturating_sub(piece.remaining());
                Some(Ok(piece))
            }
            _ if self.ready.is_empty() => None,
            Some(outgoing) => Some(Ok(outgoing.chunk(mem::take(&mut self.ready)))),
            None => Some(Ok(mem::take(&mut self.ready).into())),
        }
    }

    /// Drops the content. A guest that still writes may finish: it has done nothing wrong.
    fn clear(&mut self) {
        let rest = self.rest.take();
        *self = EdgeBody::default();
        if let Some(rest) = rest {
            rest.detach();
        }
    }
}

impl Drop for EdgeBody {
    fn drop(&mut self) {
        if let Some(outgoing) = &self.outgoing {
            // Chunks that are on their way still hold `outgoing`.
            outgoing.free();
            outgoing.discharge(self.ready.len() + self.kept);
        }
    }
}

impl Body for EdgeBody {
    type Data = Chunk;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Error>>> {
        if let Some(piece) = self.piece() {
            return Poll::Ready(Some(piece.map(Frame::data)));
        }
        let polled = if let Some(rest) = &mut self.rest {
            ready!(Pin::new(rest).poll_frame(cx))
        } else if let Some(file) = &mut self.file {
            // The file was cut short, or its disk failed: the log says so, and the client sees an incomplete body.
            ready!(file.as_mut().poll_frame(cx)).map(|read| {
                read.map_err(|error| {
                    tracing::warn!("the rest of a file that is being sent cannot be read: {error}");
                    Error::InternalError(None)
                })
            })
        } else {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let frame = match polled {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) => {
                self.charge(data);
                // An empty frame has no piece.
                Some(self.piece().unwrap_or_else(|| Ok(Bytes::new().into())).map(Frame::data))
            }
            Err(other) => Some(Ok(other.map_data(Chunk::from))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty()
            && self.kept == 0
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
            && self.file.as_ref().is_none_or(|file| file.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => SizeHint::with_exact((self.ready.len() + self.kept) as u64),
            None => SizeHint::default(),
        }
    }
}

/// Reads a small body to its end and gives the response a length. `to_head` is set when the request was a HEAD.
///
/// # Errors
/// When the body ended early. The log has the reason.
pub(super) async fn buffer_small_body(
    response: Response<ResponseBody>,
    to_head: bool,
) -> Result<Response<EdgeBody>, Error> {
    let (head, mut body) = response.into_parts();
    let mut read = Read::default();
    if may_buffer(&head, to_head) {
        let ended = tokio::time::timeout(SMALL_BODY_TIMEOUT, read.read(&mut body)).await.unwrap_or(Ok(false));
        // A guest may have written all that it announced, but do other work before it ends the body.
        if ended? || body.has_arrived() {
            if let Some(trailers) = read.trailers.take().filter(|trailers| !trailers.is_empty()) {
                return Ok(with_trailers(head, read.bytes(), trailers));
            }
            return Ok(whole(Response::from_parts(head, read.bytes()), to_head));
        }
    }
    // From here on, the client's reading sets the pace.
    let mut streamed = EdgeBody::default();
    (streamed.ready, streamed.rest) = (read.bytes(), Some(body.spawned()));
    Ok(Response::from_parts(head, streamed))
}

/// A complete response with trailers. HTTP/1.1 allows them only if the head announces them and has no length.
fn with_trailers(mut head: Parts, ready: Bytes, trailers: HeaderMap) -> Response<EdgeBody> {
    head.headers.remove(CONTENT_LENGTH);
    if let Some(announced) = framing::announce(&trailers) {
        head.headers.insert(TRAILER, announced);
    }
    let mut body = EdgeBody::default();
    (body.ready, body.trailers) = (ready, Some(trailers));
    Response::from_parts(head, body)
}

/// A complete response with its length.
pub(super) fn whole(response: Response<Bytes>, to_head: bool) -> Response<EdgeBody> {
    let (mut head, bytes) = response.into_parts();
    let trailers = Trailers::take(&mut head.extensions);
    if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
        return with_trailers(head, bytes, trailers);
    }
    head.headers.remove(TRAILER);
    // RFC 9110, section 8.6: an answer to HEAD without content must not claim a length for GET that the guest did not
    // give.
    let silent = to_head && bytes.is_empty() || has_no_content(head.status);
    if !silent {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Response::from_parts(head, EdgeBody::full(bytes))
}

/// The fixed response that the manifest declares for a route.
pub(super) fn of_manifest(answer: &StaticResponse) -> Response<EdgeBody> {
    let mut response = Response::new(Bytes::from(answer.body.clone()));
    *response.status_mut() = answer.status;
    response.headers_mut().clone_from(&answer.headers);
    whole(response, false)
}

/// The part of a body that has been read. Most bodies have one frame, which is not copied.
#[derive(Default)]
struct Read {
    first: Bytes,
    all: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Read {
    /// Reads `body`; returns whether it has ended.
    async fn read(&mut self, body: &mut ResponseBody) -> Result<bool, Error> {
        while self.first.len().max(self.all.len()) <= MAX_SMALL_BODY_BYTES {
            let Some(frame) = body.frame().await else { return Ok(true) };
            match frame?.into_data() {
                Ok(data) if self.first.is_empty() => self.first = data,
                Ok(data) => {
                    if self.all.is_empty() {
                        self.all.extend_from_slice(&self.first);
                    }
                    self.all.extend_from_slice(&data);
                }
                Err(other) => self.trailers = other.into_trailers().ok(),
            }
        }
        Ok(false)
    }

    fn bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

fn may_buffer(head: &Parts, to_head: bool) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    if has_no_content(head.status) || to_head && length.is_some() {
        // The body is not sent, and the guest may have left it out.
        return false;
    }
    let events = head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    !events && length.is_none_or(|length: usize| length <= MAX_SMALL_BODY_BYTES)
}

/// Removes the content that a response to HEAD and some statuses must not have: hyper does so only for HTTP/1.1.
pub(super) fn fit(response: &mut Response<EdgeBody>, to_head: bool) {
    let status = response.status();
    if !to_head && !has_no_content(status) {
        return;
    }
    response.headers_mut().remove(TRAILER);
    match response.body().length() {
        // RFC 9110, sections 8.6 and 15.3.6.
        _ if status == StatusCode::NO_CONTENT => {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        _ if status == StatusCode::RESET_CONTENT => {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        Some(length @ 1..) if to_head => {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        _ => {}
    }
    response.body_mut().clear();
}
