//! Responses' bodies at the edge: small ones are buffered.
//!
//! A guest's body has no length as a rule. A small one is read to its end before the response's head goes out: it then
//! has a `content-length`, head and body leave in one write, and the guest's instance is free again at once. Without a
//! length, HTTP/1.1 needs a chunked body; that and a delayed acknowledgement cost a stock server 44 ms a response.

use super::activity::UnderWay;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use souk_runtime::ResponseBody;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use wasmtime_wasi_http::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of responses.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The largest response body that is sent as a whole, with its length; a larger one is streamed.
    const MAX_SMALL_BODY_BYTES: usize = 64 * 1024, bytes;
    /// How long to wait for the end of a small body. Components write a small body at once; a body that streams is
    /// delayed by no more than this.
    const SMALL_BODY_TIMEOUT: Duration = Duration::from_millis(10);
}

/// A response's body on its way to the client.
#[derive(Default)]
pub struct EdgeBody {
    /// What has been read already: goes first.
    ready: Bytes,
    /// What the guest still writes.
    rest: Option<ResponseBody>,
    trailers: Option<HeaderMap>,
    length: Option<u64>,
    /// The request is under way until its response's body is gone.
    under_way: Option<UnderWay>,
}

impl EdgeBody {
    /// A body that is there already.
    pub fn full(ready: Bytes) -> Self {
        EdgeBody { length: Some(ready.len() as u64), ready, ..EdgeBody::default() }
    }

    /// Keeps `under_way` for as long as the body lives.
    pub fn keep(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    /// How many bytes it has, when that is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Drops the content. The guest that still writes it may finish: it has done nothing wrong.
    fn clear(&mut self) {
        if let Some(rest) = mem::take(self).rest {
            rest.detach();
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let poll = if !self.ready.is_empty() {
            Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.ready)))))
        } else if let Some(rest) = &mut self.rest {
            Pin::new(rest).poll_frame(cx)
        } else {
            Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
        };
        if let (Poll::Ready(Some(Ok(_))), Some(under_way)) = (&poll, &self.under_way) {
            under_way.progress();
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.trailers.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => SizeHint::with_exact(self.ready.len() as u64),
            None => SizeHint::default(),
        }
    }
}

/// Reads a small body to its end and gives the response a length. `to_head` says that the request was a HEAD.
///
/// # Errors
/// When the body broke off; without an error where the call's own end was the reason, which the runtime has logged.
pub async fn buffer_small_body(
    response: Response<ResponseBody>,
    to_head: bool,
) -> Result<Response<EdgeBody>, Option<Error>> {
    let (mut head, mut body) = response.into_parts();
    let mut read = Read::default();
    if may_buffer(&head, to_head) {
        let ended = tokio::time::timeout(SMALL_BODY_TIMEOUT, read.read(&mut body)).await.unwrap_or(Ok(false));
        if ended.map_err(|error| (!body.is_aborted()).then_some(error))? {
            if let trailers @ Some(_) = read.trailers.take() {
                let body = EdgeBody { ready: read.bytes(), trailers, ..EdgeBody::default() };
                return Ok(Response::from_parts(head, body));
            }
            let bytes = read.bytes();
            // RFC 9110, section 8.6: an answer to HEAD without content says nothing about the length of GET's.
            let silent = to_head && bytes.is_empty();
            if !silent && !head.headers.contains_key(CONTENT_LENGTH) {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            }
            return Ok(Response::from_parts(head, EdgeBody::full(bytes)));
        }
    }
    // From here on the client's reading sets the pace.
    Ok(Response::from_parts(head, EdgeBody { ready: read.bytes(), rest: Some(body.spawned()), ..EdgeBody::default() }))
}

/// A response that is there as a whole, given a length as [`buffer_small_body`] does.
pub fn whole(response: Response<Bytes>, to_head: bool) -> Response<EdgeBody> {
    let (mut head, bytes) = response.into_parts();
    let silent = to_head && bytes.is_empty() || has_no_content(head.status);
    if !silent && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Response::from_parts(head, EdgeBody::full(bytes))
}

/// What has been read of a body. Most have one frame, which is not copied.
#[derive(Default)]
struct Read {
    first: Bytes,
    all: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Read {
    /// Reads `body`, and says whether it has come to its end.
    async fn read(&mut self, body: &mut ResponseBody) -> Result<bool, Error> {
        while self.first.len().max(self.all.len()) <= MAX_SMALL_BODY_BYTES {
            if body.has_arrived() {
                return Ok(true);
            }
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
        // What the body is does not matter, and the guest may well have left it out.
        return false;
    }
    let events = head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    !events && length.is_none_or(|length: usize| length <= MAX_SMALL_BODY_BYTES)
}

/// RFC 9110, sections 15.3.5 and 15.4.5.
fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Takes away the content that a response to HEAD, a 204 and a 304 must not have: hyper does so for HTTP/1.1 only.
pub fn fit(response: &mut Response<EdgeBody>, to_head: bool) {
    if !to_head && !has_no_content(response.status()) {
        return;
    }
    if response.status() == StatusCode::NO_CONTENT {
        // RFC 9110, section 8.6.
        response.headers_mut().remove(CONTENT_LENGTH);
    } else if let Some(length @ 1..) = response.body().length().filter(|_| to_head) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response.body_mut().clear();
}
