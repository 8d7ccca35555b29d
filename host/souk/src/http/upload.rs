//! A request's body on its way to a component: limited in size, and read ahead.
//!
//! A client may take as long as it likes to send a body, and an instance serves one request at a time: with a few dozen
//! slow uploads one client could hold every instance of a component. So the host reads a body before it takes an
//! instance, to its end or up to [`READ_AHEAD_BYTES`]; an instance only waits for a client that has sent that much. A
//! component whose own limit is below `READ_AHEAD_BYTES` never waits for a slow client.
//!
//! A body for a component on another host is read to its end, because it goes there in one message.
//!
//! The memory for a body is charged to its request's account. A client that keeps the host waiting for the rest keeps
//! this memory only while no other request of its share needs it. Otherwise the body is refused (503), because the
//! component must not get a partial body. A body has no fixed time limit, but the client must keep a minimum rate.
//!
//! A component may answer without reading the rest, and the host's own answers need no body. The host then reads and
//! discards the rest for a moment, because a client that still writes when its connection closes may never see the
//! answer. An answer that is sent before the body's end also closes an HTTP/1 connection, and says so, because the host
//! may not reach the next request.

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

    /// How much of a request body is read before a component gets it. The bodies of typical APIs are smaller.
    const READ_AHEAD_BYTES: usize = 256 * 1024, bytes;
    /// What a request body is charged while its component reads it: as much may have arrived unread.
    pub(super) const UPLOAD_WINDOW_BYTES: u32 = 256 * 1024, bytes;
    /// Arriving parts of a request body up to this size are copied, so that they do not keep a whole receive buffer in
    /// memory.
    const MAX_COPIED_BYTES: usize = 4 * 1024, bytes;
    /// How long to keep reading a request body that is refused or unwanted, so that its client gets to the answer.
    const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
}

/// Why a body was refused.
pub(super) enum Refused {
    /// It is larger than the limit.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// Its client has used its share of memory, or there is no memory left.
    NoMemory,
    /// The client went away, or broke the protocol.
    Broken,
}

impl Refused {
    /// Its name in metrics.
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

/// How a body is read.
pub(super) struct Reading<'a> {
    /// The most bytes that the body may have.
    pub limit: u64,
    /// Whether to read it to its end.
    pub whole: bool,
    /// How long its client may keep the host waiting.
    pub pace: Pace,
    /// The account to charge.
    pub account: &'a Arc<Account>,
    /// Its request.
    pub under_way: &'a UnderWay,
    /// How to end the request, once the component has its body.
    pub end: End,
}

/// A request's body.
#[derive(Default)]
pub(super) struct Upload {
    ready: Bytes,
    /// The charge for `ready`.
    held: Option<Charge>,
    trailers: Option<HeaderMap>,
    rest: Option<Bounded>,
}

/// Bytes charged to an account; dropping it gives them back.
pub(super) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    /// Grows the charge to `bytes`.
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
    /// Reads the start of `body`, or all of it.
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
        // Others may abort it to make room.
        let read = Abortable::new(Self::read_ahead(&mut rest, reading), registration).await;
        account.works();
        let (mut upload, ended) = match read.unwrap_or(Err(Refused::NoMemory)) {
            Ok(read) => read,
            Err(refused) => {
                if let (Refused::TooLarge, Some(mut body)) = (&refused, rest.body.take()) {
                    discard(&mut body, limit).await;
                }
                // Do not wait for a body that is too slow or has no room.
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

    /// The first part of the body, and whether that was all.
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

    /// A complete body, with the charge for it.
    pub(super) fn of_ready(ready: Bytes, held: Option<Charge>) -> Self {
        Upload { ready, held, ..Upload::default() }
    }

    /// Whether the body is complete and without trailers.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none() && self.trailers.is_none()
    }

    /// The part that was read, with its trailers and its charge.
    pub(super) fn into_ready(self) -> (Bytes, Option<HeaderMap>, Option<Charge>) {
        (self.ready, self.trailers, self.held)
    }

    /// The progress of the rest; `None` when the body is complete.
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

/// The progress of a body.
#[derive(Default)]
pub(super) struct Progress {
    exceeded: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    /// Whether the body exceeded its limit.
    pub(super) fn has_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Whether the body was read to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// A body that fails after `left` bytes and records that in `progress`.
struct Bounded {
    /// `None` once it is dropped.
    body: Option<Incoming>,
    left: u64,
    progress: Arc<Progress>,
    account: Arc<Account>,
    /// How to end the request while its component waits for more of the body.
    end: End,
    /// Whether the component waits for more.
    waiting: bool,
    /// The charge for bytes that may have arrived unread; `None` during reading ahead.
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
    /// Keeps reading the unwanted rest for a moment.
    fn drop(&mut self) {
        let (Some(mut body), false) = (self.body.take(), self.progress.has_ended()) else { return };
        let (window, left) = (self.window.take(), self.left);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                discard(&mut body, left).await;
                // Until here, as much may have arrived unread.
                drop(window);
            });
        }
    }
}

/// Reads and discards at most `most` bytes of an unwanted body, for a moment: a client that still writes when the
/// connection closes may never see the reason. Returns whether it has reached the body's end.
pub(crate) async fn discard(body: &mut Incoming, most: u64) -> bool {
    let mut left = Some(most);
    let reading = async {
        while let Some(now) = left {
            let Some(frame) = body.frame().await else { return true };
            let Ok(frame) = frame else { return false };
            left = now.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        false
    };
    tokio::time::timeout(DISCARD_TIMEOUT, reading).await.unwrap_or(false)
}
