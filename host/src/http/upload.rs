//! A request's body on its way to a component: bounded in size, and read ahead.
//!
//! A client may take as long as it likes to send a body, and an instance serves one request at a time: with a few dozen
//! slow uploads a stranger could hold every instance of a component. So a body is read before an instance is taken, to
//! its end or as far as [`AHEAD`]; only a client that has sent that much is waited for inside the sandbox.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime_wasi_http::Error;

/// The most that is read of one body before an instance is taken, in bytes. The bodies of an API end before it.
const AHEAD: usize = 256 * 1024;

/// What all bodies together may hold of [`AHEAD`], in KiB. When it is used up, a body goes on as far as it has come.
const AHEAD_OF_ALL: usize = 64 * 1024;

/// How long a body that is refused may take to arrive.
const REFUSAL: Duration = Duration::from_secs(1);

/// The memory for reading ahead.
pub struct Room(Semaphore);

impl Room {
    /// All of it free.
    pub fn new() -> Self {
        Room(Semaphore::new(AHEAD_OF_ALL))
    }

    /// Room for `bytes` more, if there is any.
    fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire_many(u32::try_from(bytes.div_ceil(1024)).ok()?).ok()
    }
}

/// Why a body did not become an upload.
pub enum Refused {
    /// It is larger than the limit.
    TooLarge,
    /// Nothing came for too long.
    TooSlow,
    /// The client went away, or broke the protocol.
    Broken,
}

/// A request's body.
#[derive(Default)]
pub struct Upload {
    ready: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Bounded>,
}

impl Upload {
    /// Reads ahead of `body`, of which at most `limit` bytes are taken. `patience` is how long a pause may be.
    ///
    /// The room is given back when this returns: from then on the component's number of instances is the bound.
    ///
    /// # Errors
    /// When the body is too large, too slow or broken.
    pub async fn read(body: Incoming, limit: u64, patience: Duration, room: &Room) -> Result<Self, Refused> {
        if body.is_end_stream() {
            return Ok(Upload::default());
        }
        if body.size_hint().lower() > limit {
            return Err(Refused::TooLarge);
        }
        let mut rest = Bounded { body, left: limit, exceeded: Arc::default() };
        let (mut first, mut all, mut trailers) = (Bytes::new(), BytesMut::new(), None);
        let mut held = Vec::new();
        let ended = loop {
            if rest.is_end_stream() {
                break true;
            }
            if first.len().max(all.len()) >= AHEAD {
                break false;
            }
            let frame = match tokio::time::timeout(patience, rest.frame()).await {
                Err(_) => return Err(Refused::TooSlow),
                Ok(None) => break true,
                Ok(Some(Err(_))) if rest.has_exceeded() => {
                    discard(rest.body, limit).await;
                    return Err(Refused::TooLarge);
                }
                Ok(Some(Err(_))) => return Err(Refused::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    let permit = room.take(data.len());
                    let is_full = permit.is_none();
                    held.extend(permit);
                    if first.is_empty() {
                        first = data;
                    } else {
                        if all.is_empty() {
                            all.extend_from_slice(&first);
                        }
                        all.extend_from_slice(&data);
                    }
                    if is_full {
                        break false;
                    }
                }
                Err(other) => trailers = other.into_trailers().ok(),
            }
        };
        let ready = if all.is_empty() { first } else { all.freeze() };
        Ok(Upload { ready, trailers, rest: (!ended).then_some(rest) })
    }

    /// Says, once the body has been handed over, whether it turned out to be larger than the limit.
    pub fn exceeded(&self) -> Option<Arc<AtomicBool>> {
        self.rest.as_ref().map(|rest| rest.exceeded.clone())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.ready)))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.trailers.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.ready.len() as u64),
        }
    }
}

/// A body that ends with an error past `left` bytes, and says so in `exceeded`.
struct Bounded {
    body: Incoming,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

impl Bounded {
    fn has_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

impl Body for Bounded {
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

/// Reads and drops a body that is refused, `most` bytes of it: a client that still writes when the connection closes
/// may never see why.
pub async fn discard(mut body: Incoming, most: u64) {
    let mut left = Some(most);
    let reading = async {
        while let (Some(now), Some(Ok(frame))) = (left, body.frame().await) {
            left = now.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
    };
    // Whether all of it came makes no difference to the answer.
    let _ = tokio::time::timeout(REFUSAL, reading).await;
}
