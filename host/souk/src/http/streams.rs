//! A task for each stream of HTTP/2, which can be ended: hyper resets a stream when its task is dropped.
//!
//! Otherwise a response whose client gives it no window could be ended by nothing but its connection, which may carry the
//! requests of others.

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
            // Whether it was aborted makes no difference here.
            let _ = Abortable::new(task, registration).await;
            done.store(true, Ordering::Release);
        }));
    }
}

/// The stream that this task serves; `None` in the task of an HTTP/1.1 connection.
pub(super) fn current() -> Option<Stream> {
    STREAM.try_with(Stream::clone).ok()
}
