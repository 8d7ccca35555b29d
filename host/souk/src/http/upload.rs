//! A request's body on its way to a component: bounded in size, and read ahead.
//!
//! A client may take as long as it likes to send a body, and an instance serves one request at a time: with a few dozen
//! slow uploads a stranger could hold every instance of a component. So a body is read before an instance is taken, to
//! its end or as far as [`READ_AHEAD_BYTES`]; only a client that has sent that much is waited for inside the sandbox. A
//! component whose own bound is below `READ_AHEAD_BYTES` is never held up by a slow client.
//!
//! A body for a component on another host is read to its end: it goes there in one message.
//!
//! What is held of a body is charged to its request's account. A client that lets the host wait for the rest keeps what it
//! holds only while nobody else of its share needs it: then the body is refused (503), since calling the component with
//! half of it would be the very thing to avoid. And it has no fixed time for all of it, but a least rate.
//!
//! A component may answer without reading the rest. What is left is then read and dropped for a moment, because a client
//! that still writes when its connection closes may never see the answer; and an answer that leaves before the body's end
//! closes an HTTP/1 connection, and says so, because nobody knows whether another request would be read from it.

use super::activity::UnderWay;
use super::budget::{Account, End, Full};
use super::pace::Pace;
use bytes::{Bytes, BytesMut};
use futures::future::{AbortHandle, Abortable};
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
use tokio::runtime::Handle;
use tokio::time::Instant;
use wasmtime_wasi_http::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of request bodies.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most that is read of one request body before a component gets it. The bodies of an API end before it.
    const READ_AHEAD_BYTES: usize = 256 * 1024, bytes;
    /// What a request body counts for while its component reads it: as much may have arrived that is not read yet.
    pub(super) const UPLOAD_WINDOW_BYTES: u32 = 256 * 1024, bytes;
    /// The most of a request body that is copied when it arrives, so that it does not keep all that came with it.
    const MAX_COPIED_BYTES: usize = 4 * 1024, bytes;
    /// How long to read on in a request body that is refused or not wanted, so that its client gets to the answer.
    const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
}

/// Why a body did not become an upload.
pub(super) enum Refused {
    /// It is larger than the limit.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// Its client has its share of memory, or there is none.
    NoMemory,
    /// The client went away, or broke the protocol.
    Broken,
}

impl Refused {
    /// Its name in measures.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Refused::TooLarge => "body-too-large",
            Refused::TooSlow => "body-too-slow",
            Refused::NoMemory => "request-memory",
            Refused::Broken => "body-broken",
        }
    }
}

impl From<Full> for Refused {
    fn from(Full: Full) -> Self {
        Refused::NoMemory
    }
}

/// What a body is read with.
pub(super) struct Reading<'a> {
    /// The most bytes that it may have.
    pub limit: u64,
    /// Whether it is read to its end.
    pub whole: bool,
    /// How long its client may keep the host waiting.
    pub pace: Pace,
    /// What it is charged to.
    pub account: &'a Arc<Account>,
    /// Its request.
    pub under_way: &'a UnderWay,
    /// How to end the request, once its body is the component's.
    pub end: End,
}

/// A request's body.
#[derive(Default)]
pub(super) struct Upload {
    ready: Bytes,
    /// The memory that `ready` takes.
    held: Option<Charge>,
    trailers: Option<HeaderMap>,
    rest: Option<Bounded>,
}

/// Bytes of an account, given back when this is dropped.
pub(super) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    /// Extends it to `bytes`.
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        if more > 0 {
            self.account.take(more)?;
            self.bytes += more;
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

impl Upload {
    /// Reads ahead of `body`.
    ///
    /// # Errors
    /// When the body is too large, too slow or broken, or there is no memory for it.
    pub(super) async fn read(body: Incoming, reading: Reading<'_>) -> Result<Self, Refused> {
        if body.is_end_stream() {
            return Ok(Upload::default());
        }
        let Reading { limit, account, .. } = reading;
        let mut rest = Bounded {
            body: Some(body),
            left: limit,
            progress: Arc::default(),
            account: account.clone(),
            end: reading.end.clone(),
            waiting: false,
            window: None,
        };
        let (abort, registration) = AbortHandle::new_pair();
        account.waits(End::Task(abort));
        // Aborted to make room for others.
        let read = Abortable::new(Self::read_ahead(&mut rest, reading), registration).await;
        account.works();
        let (mut upload, ended) = match read.unwrap_or(Err(Refused::NoMemory)) {
            Ok(read) => read,
            Err(refused) => {
                if let (Refused::TooLarge, Some(body)) = (&refused, rest.body.take()) {
                    discard(body, limit).await;
                }
                // What is too slow, or has no room, is not waited for.
                rest.body = None;
                return Err(refused);
            }
        };
        if !ended {
            let mut window = Charge { account: account.clone(), bytes: 0 };
            window.grow(UPLOAD_WINDOW_BYTES as usize)?;
            rest.window = Some(window);
            upload.rest = Some(rest);
        }
        Ok(upload)
    }

    /// What came first, and whether that was all.
    async fn read_ahead(body: &mut Bounded, reading: Reading<'_>) -> Result<(Self, bool), Refused> {
        let ahead = if reading.whole { usize::MAX } else { READ_AHEAD_BYTES };
        let mut pace = reading.pace;
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut held = Charge { account: reading.account.clone(), bytes: 0 };
        let mut trailers = None;
        let ended = loop {
            if body.is_end_stream() {
                break true;
            }
            if first.len().max(all.len()) >= ahead {
                break false;
            }
            let since = Instant::now();
            reading.under_way.waits_until(since + pace.left() + DISCARD_TIMEOUT);
            let frame = tokio::time::timeout(pace.left(), body.frame()).await.map_err(|_| Refused::TooSlow)?;
            let frame = match frame {
                None => break true,
                Some(Err(_)) if body.progress.has_exceeded() => return Err(Refused::TooLarge),
                Some(Err(_)) => return Err(Refused::Broken),
                Some(Ok(frame)) => frame,
            };
            pace.used(since.elapsed(), frame.data_ref().map_or(0, |data| data.len() as u64));
            reading.account.moved();
            match frame.into_data() {
                Ok(data) if first.is_empty() => {
                    first = if data.len() <= MAX_COPIED_BYTES { Bytes::copy_from_slice(&data) } else { data };
                }
                Ok(data) => {
                    if all.is_empty() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&data);
                }
                Err(other) => trailers = other.into_trailers().ok(),
            }
            held.grow(first.len().max(all.capacity()))?;
        };
        let ready = if all.is_empty() { first } else { all.freeze() };
        Ok((Upload { ready, held: Some(held), trailers, rest: None }, ended))
    }

    /// Whether all of it is there, and no trailers.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none() && self.trailers.is_none()
    }

    /// What has been read, with its trailers and the memory that it takes.
    pub(super) fn into_ready(self) -> (Bytes, Option<HeaderMap>, Option<Charge>) {
        (self.ready, self.trailers, self.held)
    }

    /// How far the body gets once it has been handed over; `None` when all of it is here.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.rest.as_ref().map(|rest| rest.progress.clone())
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

/// How far a body got.
#[derive(Default)]
pub(super) struct Progress {
    exceeded: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    /// Whether it turned out to be larger than its limit.
    pub(super) fn has_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Whether all of it was read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// A body that ends with an error past `left` bytes, and says so in `progress`.
struct Bounded {
    /// `None` once it is dropped.
    body: Option<Incoming>,
    left: u64,
    progress: Arc<Progress>,
    account: Arc<Account>,
    /// How to end the request while its component waits for more.
    end: End,
    /// Whether the component waits for more.
    waiting: bool,
    /// What may have arrived unread; `None` while it is read ahead.
    window: Option<Charge>,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let poll = Pin::new(&mut *body).poll_frame(cx).map_err(Error::Hyper);
        let ended = body.is_end_stream() || matches!(&poll, Poll::Ready(None));
        if ended {
            self.progress.ended.store(true, Ordering::Relaxed);
        }
        if self.window.is_some() && self.waiting != poll.is_pending() {
            self.waiting = poll.is_pending();
            if self.waiting {
                self.account.waits(self.end.clone());
            } else {
                self.account.works();
            }
        }
        if let Poll::Ready(None) = &poll {
            self.window = None;
        }
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => {
                    self.progress.exceeded.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                }
            }
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Bounded {
    /// Reads on for a moment in what nobody wants any more.
    fn drop(&mut self) {
        let (Some(body), false) = (self.body.take(), self.progress.has_ended()) else { return };
        let (window, left) = (self.window.take(), self.left);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                discard(body, left).await;
                // As much may have arrived meanwhile.
                drop(window);
            });
        }
    }
}

/// Reads and drops a body that nobody wants, `most` bytes of it: a client that still writes when the connection closes
/// may never see why.
pub(super) async fn discard(mut body: Incoming, most: u64) {
    let mut left = Some(most);
    let reading = async {
        while let (Some(now), Some(Ok(frame))) = (left, body.frame().await) {
            left = now.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
    };
    // Whether all of it came makes no difference to the answer.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}
