//! Work that may take its time: on a thread of the lowest priority, so that calls get the processor first.
//!
//! A deployment reads, hashes and links code, and drops instances, while the application serves. On an async thread
//! each of these steps would delay calls for milliseconds; on an ordinary thread it would compete with them.

use std::thread::Builder;
use tokio::sync::oneshot;

/// The lowest priority of a thread or process.
const LOWEST_PRIORITY: i32 = 19;

/// Gives this thread, and the threads that it starts, the lowest priority. It cannot be raised again.
pub(crate) fn lower_priority() {
    // On Linux the priority is the thread's. Without it the work only disturbs calls more.
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
        tracing::debug!("work in the background has the priority of calls: {error}");
    }
}

/// Runs `work` on a thread of the lowest priority, within the current tokio runtime. `None` when it panicked, or the
/// system starts no thread.
pub async fn background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let thread = Builder::new().name("background".to_owned()).spawn(move || {
        lower_priority();
        let _runtime = runtime.enter();
        let _ = sender.send(work());
    });
    if let Err(error) = thread {
        tracing::error!("no thread for work in the background: {error}; fix: raise the limit of threads");
        return None;
    }
    receiver.await.ok()
}

/// Drops `what` on a thread of the lowest priority: the memory of an instance takes up to a millisecond to return.
pub(crate) fn discard<T: Send + 'static>(what: Vec<T>) {
    if what.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Handle::try_current().ok();
    let drop_all = move || {
        lower_priority();
        let _runtime = runtime.as_ref().map(tokio::runtime::Handle::enter);
        drop(what);
    };
    // If the system starts no thread, the closure is dropped here, with everything in it.
    if let Err(error) = Builder::new().name("discard".to_owned()).spawn(drop_all) {
        tracing::debug!("instances are dropped on this thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_in_the_background_has_the_lowest_priority_and_its_caller_keeps_its_own() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        assert_eq!(background(own).await, Some(LOWEST_PRIORITY));
        assert_eq!(own(), before);
        let within = background(|| tokio::runtime::Handle::try_current().is_ok()).await;
        assert_eq!(within, Some(true), "it may use the runtime");
        assert_eq!(background(|| assert_eq!(1, 2, "a panic")).await, None);
    }

    #[tokio::test]
    async fn what_is_discarded_is_dropped_on_another_thread() {
        struct Dropped(std::sync::mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().id());
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        discard(vec![Dropped(sender)]);
        assert_ne!(receiver.recv().unwrap(), std::thread::current().id());
    }
}
