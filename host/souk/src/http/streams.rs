//! An abortable task for each HTTP/2 stream: hyper resets a stream when its task is dropped.
//!
//! Otherwise, to end a response whose client gives it no window, the host would have to close the connection, which may
//! carry requests of others.

use super::budget::Stream;
use futures::future::{AbortHandle, Abortable};
use hyper::rt::Executor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        let (abort, registration) = AbortHandle::new_pair();
        let done = Arc::new(AtomicBool::new(false));
        let stream = Stream { abort, done: done.clone() };
        tokio::spawn(STREAM.scope(stream, async move {
            // It makes no difference here whether it was aborted.
            let _ = Abortable::new(task, registration).await;
            done.store(true, Ordering::Release);
        }));
    }
}

/// The stream that this task serves; `None` in the task of an HTTP/1.1 connection.
pub(super) fn current() -> Option<Stream> {
    STREAM.try_with(Stream::clone).ok()
}
