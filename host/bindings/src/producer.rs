//! Feeds a guest's stream with the keys, rows or other items that a binding produces in batches.
//!
//! Every stream that a binding gives to a guest is a [`Producer`] over a [`Source`]. Only the producer deals with
//! wasmtime's contract, so a source cannot break it:
//!
//! - A guest gets at most as many items as it asked for. wasmtime 48 would keep extra items, but would then forget that
//!   the stream has ended and poll its producer again. So the producer keeps the extra items.
//! - After its end a source is dropped and never polled again; further reads get the end again.
//! - "Completed" without an item is an error to wasmtime, so an empty batch asks the source for the next one.
//! - A read of length zero asks whether items are ready. It completes at once; the next read returns or awaits them.
//! - A read that the guest cancels does not change the source; the next read continues with it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

/// Some items, or the error that ends the stream; `None` at the end.
pub(super) type Batch<S> = Option<Result<Vec<<S as Source>::Item>, <S as Source>::Error>>;

/// A source of items that arrive over time.
pub(super) trait Source: Sized + Send + Unpin + 'static {
    /// The type of the items.
    type Item: Send + Sync + 'static;
    /// The error that can end it.
    type Error: Send + 'static;

    /// Some of the next items, preferably at most `wanted`: more are buffered until the guest reads them. Not called
    /// after an error, the end, or when [`Source::is_done`].
    fn poll_batch(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Batch<Self>>;

    /// Whether the end is known to be reached.
    fn is_done(&self) -> bool;
}

/// Feeds a guest's stream, and reports at its end how the source ended.
pub(super) struct Producer<S: Source> {
    /// `None` after its end.
    source: Option<S>,
    /// Items from the source that no read has asked for yet.
    ready: VecDeque<S::Item>,
    /// `None` when the outcome was already reported.
    end: Option<oneshot::Sender<Result<(), S::Error>>>,
}

impl<S: Source> Producer<S> {
    /// A producer of the items of `source`. `end`, if given, gets the outcome; it is dropped when the guest drops the
    /// stream early.
    pub(super) fn new(source: S, end: Option<oneshot::Sender<Result<(), S::Error>>>) -> Self {
        Producer { source: Some(source), ready: VecDeque::new(), end }
    }

    /// Waits until an item is ready or the source has ended.
    fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<()> {
        while self.ready.is_empty() {
            let Some(source) = self.source.as_mut().filter(|source| !source.is_done()) else {
                self.finish(Ok(()));
                return Poll::Ready(());
            };
            match std::task::ready!(source.poll_batch(cx, wanted)) {
                None => self.finish(Ok(())),
                Some(Err(error)) => self.finish(Err(error)),
                Some(Ok(batch)) => self.ready = batch.into(),
            }
        }
        Poll::Ready(())
    }

    /// Takes at most `room` of the ready items, and returns whether they are the last.
    fn take(&mut self, room: usize) -> (Vec<S::Item>, bool) {
        let items = self.ready.drain(..room.min(self.ready.len())).collect();
        if self.ready.is_empty() && self.source.as_ref().is_some_and(Source::is_done) {
            self.finish(Ok(()));
        }
        (items, self.ready.is_empty() && self.source.is_none())
    }

    fn finish(&mut self, outcome: Result<(), S::Error>) {
        self.source = None;
        if let Some(end) = self.end.take() {
            // The guest may have dropped the future; then nobody needs the outcome.
            drop(end.send(outcome));
        }
    }
}

// It relies on pinning nothing.
impl<S: Source> Unpin for Producer<S> {}

impl<S: Source, D: 'static> StreamProducer<D> for Producer<S> {
    type Item = S::Item;
    type Buffer = VecBuffer<S::Item>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, S::Item, VecBuffer<S::Item>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A reader in the host sets no limit.
        let room = destination.remaining(&mut store).unwrap_or(usize::MAX);
        if room == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if self.poll_ready(cx, room).is_pending() {
            return if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending };
        }
        let (items, last) = self.take(room);
        destination.set_buffer(items.into());
        Poll::Ready(Ok(if last { StreamResult::Dropped } else { StreamResult::Completed }))
    }
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
