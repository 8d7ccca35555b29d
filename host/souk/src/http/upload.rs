//! A request's body on its way to a component: bounded in size, and read ahead.
//!
//! A client may take as long as it likes to send a body, and an instance serves one request at a time: with a few dozen
//! slow uploads a stranger could hold every instance of a component. So a body is read before an instance is taken, to
//! its end or as far as [`READ_AHEAD_BYTES`]; only a client that has sent that much is waited for inside the sandbox. A
//! component whose own bound is below `READ_AHEAD_BYTES` is never held up by a slow client.
//!
//! A body for a component on another host is read to its end: it goes there in one message.
//!
//! What all bodies together may hold is bounded too, from their first byte until the component takes them. A body for
//! which there is no memory is refused (503): calling the component with half of it would be the very thing to avoid.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of request bodies.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most that is read of one request body before a component gets it. The bodies of an API end before it.
    const READ_AHEAD_BYTES: usize = 256 * 1024, bytes;
    /// The most memory that the request bodies read ahead take together; requests beyond it are answered with 503.
    const MAX_BUFFERED_KIB: usize = 64 * 1024, KiB;
    /// The least memory that a request body counts for: a stream with its headers takes that much while it waits.
    const MIN_UPLOAD_KIB: usize = 16, KiB;
    /// How long to read on in a request body that is refused, so that its client gets to the answer.
    const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
}

/// The memory that is left for buffered bodies.
pub struct MemoryBudget(Arc<Semaphore>);

impl MemoryBudget {
    /// A budget of which everything is free.
    pub fn new() -> Self {
        MemoryBudget(Arc::new(Semaphore::new(MAX_BUFFERED_KIB)))
    }

    /// Extends the reservation `held` to `bytes`.
    fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Refused> {
        let wanted = bytes.div_ceil(1024).max(MIN_UPLOAD_KIB);
        let missing = wanted.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let missing = u32::try_from(missing).map_err(|_| Refused::NoMemory)?;
        if missing > 0 {
            let more = self.0.clone().try_acquire_many_owned(missing).map_err(|_| Refused::NoMemory)?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        Ok(())
    }
}

/// Why a body did not become an upload.
pub enum Refused {
    /// It is larger than the limit.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// Other bodies hold the memory.
    NoMemory,
    /// The client went away, or broke the protocol.
    Broken,
}

/// A request's body.
#[derive(Default)]
pub struct Upload {
    ready: Bytes,
    /// The memory that `ready` takes.
    held: Option<OwnedSemaphorePermit>,
    trailers: Option<HeaderMap>,
    rest: Option<Bounded>,
}

impl Upload {
    /// Reads ahead of `body`, of which at most `limit` bytes are taken, for `patience` at most; to its end when it is to
    /// be `whole`.
    ///
    /// # Errors
    /// When the body is too large, too slow or broken, or there is no memory for it.
    pub async fn read(
        body: Incoming,
        limit: u64,
        whole: bool,
        patience: Duration,
        budget: &MemoryBudget,
    ) -> Result<Self, Refused> {
        if body.is_end_stream() {
            return Ok(Upload::default());
        }
        let mut rest = Bounded { body, left: limit, exceeded: Arc::default() };
        let ahead = if whole { usize::MAX } else { READ_AHEAD_BYTES };
        let read = tokio::time::timeout(patience, Self::read_ahead(&mut rest, ahead, budget)).await;
        let (mut upload, ended) = match read.unwrap_or(Err(Refused::TooSlow)) {
            Ok(read) => read,
            Err(refused) => {
                if matches!(refused, Refused::TooLarge) {
                    discard(rest.body, limit).await;
                }
                return Err(refused);
            }
        };
        upload.rest = (!ended).then_some(rest);
        Ok(upload)
    }

    /// What came first, and whether that was all.
    async fn read_ahead(body: &mut Bounded, ahead: usize, budget: &MemoryBudget) -> Result<(Self, bool), Refused> {
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut upload = Upload::default();
        budget.grow(&mut upload.held, 0)?;
        let ended = loop {
            if body.is_end_stream() {
                break true;
            }
            if first.len().max(all.len()) >= ahead {
                break false;
            }
            let frame = match body.frame().await {
                None => break true,
                Some(Err(_)) if body.has_exceeded() => return Err(Refused::TooLarge),
                Some(Err(_)) => return Err(Refused::Broken),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => {
                    if all.is_empty() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&data);
                }
                Err(other) => upload.trailers = other.into_trailers().ok(),
            }
            budget.grow(&mut upload.held, first.len().max(all.len()))?;
        };
        upload.ready = if all.is_empty() { first } else { all.freeze() };
        Ok((upload, ended))
    }

    /// What has been read, with its trailers and the memory that it takes.
    pub fn into_ready(self) -> (Bytes, Option<HeaderMap>, Option<OwnedSemaphorePermit>) {
        (self.ready, self.trailers, self.held)
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
            self.held = None;
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
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}
