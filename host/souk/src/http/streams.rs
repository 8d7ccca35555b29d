//! An abortable task for each HTTP/2 stream: hyper resets a stream when its task is dropped.
//!
//! Otherwise, to end a response whose client gives it no window, the host would have to close the connection, which may
//! carry requests of others.

use super::budget::{Stream, StreamState};
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable};
use hyper::rt::Executor;
use std::sync::Arc;
use std::sync::atomic::Ordering;

tokio::task_local! {
    static STREAM: Stream;
}

/// Spawns hyper's tasks.
#[derive(Clone)]
pub(super) struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(abortable(task));
    }
}

/// The task with its handle. An `async` block would have room for the task twice, where it is captured and where it is
/// awaited; and the task has the state of a whole request, for as long as its client lets it wait.
fn abortable<F: Future>(task: F) -> impl Future<Output = ()> {
    let (abort, registration) = AbortHandle::new_pair();
    let state = Arc::new(StreamState::default());
    let stream = Stream { abort, state: state.clone() };
    // It makes no difference here whether it was aborted.
    let task = Abortable::new(task, registration).map(move |_| state.done.store(true, Ordering::Release));
    STREAM.scope(stream, task)
}

/// The stream that this task serves; `None` in the task of an HTTP/1.1 connection.
pub(super) fn current() -> Option<Stream> {
    STREAM.try_with(Stream::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_request_is_kept_once() {
        let state = [7_u8; 8 * 1024];
        let task = async move {
            std::future::pending::<()>().await;
            std::hint::black_box(&state);
        };
        let alone = size_of_val(&task);
        assert!(size_of_val(&abortable(task)) < alone + 256, "{alone}");
    }
}
