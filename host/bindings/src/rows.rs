//! How the rows of a statement become a guest's stream, whichever database gives them.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

/// Some rows, or why there are no more; `None` at the end.
pub(super) type Batch<R> = Option<Result<Vec<<R as Rows>::Row>, <R as Rows>::Error>>;

/// Rows as they come.
pub(super) trait Rows: Sized + Send + Unpin + 'static {
    /// One of them.
    type Row: Send + Sync + 'static;
    /// Why there are no more.
    type Error: Send + 'static;

    /// Some of the next rows, at most `most`.
    fn poll_rows(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Batch<Self>>;

    /// Whether the end is known to be reached.
    fn is_done(&self) -> bool;
}

/// Feeds a guest's stream, and says at its end how the statement ended.
pub(super) struct Producer<R: Rows> {
    pub rows: R,
    /// `None` when the end was told beforehand.
    pub end: Option<oneshot::Sender<Result<(), R::Error>>>,
}

impl<R: Rows> Producer<R> {
    fn finish(&mut self, outcome: Result<(), R::Error>) -> StreamResult {
        if let Some(end) = self.end.take() {
            // The guest may have dropped the future: then it does not want to know.
            drop(end.send(outcome));
        }
        StreamResult::Dropped
    }
}

impl<R: Rows, D: 'static> StreamProducer<D> for Producer<R> {
    type Item = R::Row;
    type Buffer = VecBuffer<R::Row>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, R::Row, VecBuffer<R::Row>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // No more than the guest has room for: what is handed over is no longer counted as unread.
        let room = destination.remaining(&mut store).unwrap_or(usize::MAX);
        if room == 0 {
            // A question whether there are rows; the next read of them answers it.
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match self.rows.poll_rows(cx, room) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => self.finish(Ok(())),
            Poll::Ready(Some(Err(e))) => self.finish(Err(e)),
            Poll::Ready(Some(Ok(rows))) => {
                destination.set_buffer(rows.into());
                if self.rows.is_done() { self.finish(Ok(())) } else { StreamResult::Completed }
            }
        }))
    }
}
