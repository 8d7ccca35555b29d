//! A stream that limits how much is read for one answer.

use super::{LINE_OVERHEAD_BYTES, MAX_ANSWER_BYTES};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The weight of the current answer so far: its bytes, plus [`LINE_OVERHEAD_BYTES`] for each line.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerWeight(Arc<AtomicUsize>);

impl AnswerWeight {
    /// Starts counting the next answer.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether the answer was too large.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.load(Ordering::Acquire) > MAX_ANSWER_BYTES
    }

    fn add(&self, read: &[u8]) {
        let lines = read.iter().filter(|byte| **byte == b'\n').count();
        self.0.fetch_add(read.len() + lines * LINE_OVERHEAD_BYTES, Ordering::AcqRel);
    }
}

/// A stream that fails once an answer is too large.
pub(super) struct Bounded<S> {
    pub(super) stream: S,
    pub(super) weight: AnswerWeight,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.weight.add(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(match self.weight.is_exceeded() {
            true => Err(io::Error::other("the answer is too large")),
            false => Ok(()),
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
