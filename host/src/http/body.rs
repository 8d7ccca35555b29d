//! Bodies at the edge: requests bounded in size, responses settled where they are small.
//!
//! A guest's body has no length as a rule. A small one is read to its end before the response's head goes out: it then
//! has a `content-length`, head and body leave in one write, and the guest's instance is free again at once. Without a
//! length, HTTP/1.1 needs a chunked body; that and a delayed acknowledgement cost a stock server 44 ms a response.

use super::activity::UnderWay;
use crate::runtime::ResponseBody;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use wasmtime_wasi_http::Error;

/// The most that is read ahead of a response, in bytes.
const SMALL: usize = 64 * 1024;

/// How long the end of a small body is waited for. Guests write a small body at once; one that streams is not held up
/// for longer than this.
const PATIENCE: Duration = Duration::from_millis(10);

/// A response's body on its way to the client.
pub struct EdgeBody {
    ready: VecDeque<Frame<Bytes>>,
    rest: Option<ResponseBody>,
    length: Option<u64>,
    /// The request is under way until its response's body is gone.
    under_way: Option<UnderWay>,
}

impl EdgeBody {
    /// A body that is there already.
    pub fn full(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        let ready = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([Frame::data(bytes)]) };
        EdgeBody { ready, rest: None, length, under_way: None }
    }

    /// Keeps `under_way` for as long as the body lives.
    pub fn keep(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    /// How many bytes it has, when that is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => {
                SizeHint::with_exact(self.ready.iter().filter_map(Frame::data_ref).map(|b| b.len() as u64).sum())
            }
            None => SizeHint::default(),
        }
    }
}

/// Reads a small body to its end and gives it a length.
pub async fn settle(response: Response<ResponseBody>) -> Result<Response<EdgeBody>, Error> {
    let (mut head, mut body) = response.into_parts();
    let mut ready = VecDeque::new();
    if may_settle(&head) {
        let mut size = 0;
        let ended = tokio::time::timeout(PATIENCE, async {
            while size <= SMALL {
                match body.frame().await {
                    Some(frame) => {
                        let frame = frame?;
                        size += frame.data_ref().map_or(0, Bytes::len);
                        ready.push_back(frame);
                    }
                    None => return Ok(true),
                }
            }
            Ok::<_, Error>(false)
        })
        .await
        .unwrap_or(Ok(false))?;
        if ended && ready.iter().all(Frame::is_data) {
            let bytes = joined(ready, size);
            if !head.headers.contains_key(CONTENT_LENGTH) && has_length(&head) {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            }
            return Ok(Response::from_parts(head, EdgeBody::full(bytes)));
        }
    }
    Ok(Response::from_parts(head, EdgeBody { ready, rest: Some(body), length: None, under_way: None }))
}

fn may_settle(head: &Parts) -> bool {
    let events = head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let length = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    !events && length.is_none_or(|length: usize| length <= SMALL)
}

/// RFC 9110, section 8.6: no content-length on 204 and 304 (a 304's would be that of the 200), nor on 1xx.
fn has_length(head: &Parts) -> bool {
    !head.status.is_informational()
        && head.status != http::StatusCode::NO_CONTENT
        && head.status != http::StatusCode::NOT_MODIFIED
}

fn joined(mut frames: VecDeque<Frame<Bytes>>, size: usize) -> Bytes {
    if frames.len() <= 1 {
        return frames.pop_front().and_then(|f| f.into_data().ok()).unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(size);
    for frame in frames {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    all.freeze()
}

/// A request's body that ends with an error past `left` bytes, and says so in `exceeded`.
pub struct Bounded<B> {
    body: B,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

impl<B> Bounded<B> {
    /// At most `limit` bytes of `body`.
    pub fn new(body: B, limit: u64, exceeded: Arc<AtomicBool>) -> Self {
        Bounded { body, left: limit, exceeded }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx).map_err(Error::Hyper);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => {
                    self.exceeded.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                }
            }
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
