//! A response's body on its way to the guest: passed on frame by frame, as the guest reads, under its time limits.
//!
//! Nothing is buffered here. While the guest does not read, nothing is read from the connection, and the clock between
//! bytes stands still: it measures the sender, not the reader.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;

/// A body with its time limits and its place among the requests under way.
pub(super) struct Limited<B> {
    /// `None` once it has ended or failed, which frees the connection before the guest drops the body.
    body: Option<(B, Option<OwnedSemaphorePermit>)>,
    between_bytes: Option<Duration>,
    deadline: Instant,
    /// Runs while the sender is waited for.
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

    /// Waits for the sender, at most for the time that it has.
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
                return Poll::Ready(Some(Ok(frame)));
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
