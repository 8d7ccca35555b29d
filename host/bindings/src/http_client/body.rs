//! A response's body on its way to the guest: passed on frame by frame, as the guest reads, under its time limits.
//! Nothing is buffered here. While the guest does not read, nothing is read from the connection, and the timeout
//! between bytes is paused: it measures the sender, not the reader.
//!
//! Request bodies: a guest's body usually has no declared length, and not every server accepts a chunked body. So if
//! the guest writes a small body at once, the host reads it to its end before it sends the head, and sets
//! `content-length`.

use crate::http_limits::check_trailers;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// A body with its time limits and its permit, which counts it among the requests in progress.
pub(super) struct Limited<B> {
    /// `None` once it has ended or failed, which frees the connection before the guest drops the body.
    body: Option<(B, Option<OwnedSemaphorePermit>)>,
    between_bytes: Option<Duration>,
    deadline: Instant,
    /// Runs while the host waits for the sender.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B: Body> Limited<B> {
    pub(super) fn new(
        body: B,
        between_bytes: Option<Duration>,
        deadline: Instant,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let body = (!body.is_end_stream()).then_some((body, permit));
        Limited { body, between_bytes, deadline, timer: None }
    }

    /// Waits for the sender until its time limit.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let deadline = self.deadline;
        let between = self.between_bytes.and_then(|time| Instant::now().checked_add(time));
        let timer = self.timer.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(between.map_or(deadline, |between| between.min(deadline))))
        });
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(if Instant::now() >= deadline { Error::HttpResponseTimeout } else { Error::ConnectionReadTimeout })
    }
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: IntoCode,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some((body, _)) = &mut self.body else { return Poll::Ready(None) };
        let outcome = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                match frame.trailers_ref().map(check_trailers) {
                    Some(Err(error)) => Some(Err(error)),
                    _ => return Poll::Ready(Some(Ok(frame))),
                }
            }
            Poll::Ready(Some(Err(error))) => Some(Err(error.into_code())),
            Poll::Ready(None) => None,
            Poll::Pending => Some(Err(ready!(self.poll_timer(cx)))),
        };
        self.body = None;
        self.timer = None;
        Poll::Ready(outcome)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

souk_manifest::fixed_limits! {
    /// The fixed limits of small request bodies.
    pub(crate) const FIXED_LIMITS = "http client";

    /// The most that is read ahead of a component's request body.
    const READ_AHEAD_BYTES: usize = 64 * 1024, bytes;
    /// How long to wait for the end of a small request body. A component that streams is not delayed for longer.
    const READ_AHEAD_TIMEOUT: Duration = Duration::from_millis(10);
}

/// A request body whose beginning has already been read.
struct PartlyRead {
    ready: Bytes,
    /// The part that the guest has not written yet.
    rest: Option<WasiBody>,
    trailers: Option<HeaderMap>,
}

impl Body for PartlyRead {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.ready)))));
        }
        if let Some(rest) = &mut self.rest {
            match ready!(Pin::new(rest).poll_frame(cx)) {
                None => self.rest = None,
                frame => return Poll::Ready(frame),
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.trailers.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    /// A body with trailers has no length: HTTP/1.1 allows trailers only with a chunked body.
    fn size_hint(&self) -> SizeHint {
        match (&self.rest, &self.trailers) {
            (None, None) => SizeHint::with_exact(self.ready.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// Returns `body` with a length if the guest writes it at once and it is small; otherwise it returns `body` without
/// one.
///
/// # Errors
/// When the body breaks off.
pub(super) async fn with_length(mut body: WasiBody) -> Result<WasiBody, Error> {
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return Ok(body);
    }
    let (mut ready, mut trailers) = (BytesMut::new(), None);
    let read = async {
        while ready.len() <= READ_AHEAD_BYTES {
            let Some(frame) = body.frame().await else { return Ok(true) };
            match frame?.into_data() {
                Ok(data) => ready.extend_from_slice(&data),
                Err(other) => trailers = other.into_trailers().ok(),
            }
        }
        Ok::<_, Error>(false)
    };
    let ended = tokio::time::timeout(READ_AHEAD_TIMEOUT, read).await.unwrap_or(Ok(false))?;
    let rest = (!ended).then_some(body);
    Ok(PartlyRead { ready: ready.freeze(), rest, trailers }.boxed_unsync())
}

/// The error of a body from the network, or from a component.
pub(super) trait IntoCode {
    fn into_code(self) -> Error;
}

impl IntoCode for hyper::Error {
    fn into_code(self) -> Error {
        super::error::of_body(&self)
    }
}

impl IntoCode for Error {
    fn into_code(self) -> Error {
        self
    }
}
