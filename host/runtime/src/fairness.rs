//! Fairness between busy components: CPU slices by epoch, and the "hot" semaphore.
//!
//! A guest that computes without waiting would keep a thread of the runtime for itself; two would stop a host of two
//! threads. So every guest yields after a slice of CPU time, and one that has used up a slice must hold one of
//! (threads - 1) permits to go on: one thread is always free for calls that are short. Measured with two busy loops on
//! two threads: other calls' median 0.1 ms, against 5 to 10 ms with yields alone. Password hashing is such a guest.

use super::profile::Profiler;
use souk_bindings::Ctx;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};

/// The permits for guests that have used up a slice.
#[derive(Clone)]
pub struct Fairness {
    hot: Arc<Semaphore>,
}

impl Fairness {
    /// For a runtime of `threads` worker threads.
    pub fn new(threads: usize) -> Self {
        Fairness { hot: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))) }
    }

    /// Makes `store` yield after every slice and end with a trap once its call's deadline has passed, and `profiler`
    /// see what it does.
    pub(super) fn govern(&self, store: &mut Store<Ctx>, profiler: &Profiler) {
        let (hot, held, profiler) = (self.hot.clone(), store.data().slice.clone(), profiler.clone());
        store.epoch_deadline_callback(move |ctx| {
            profiler.sample(&ctx);
            if Instant::now() >= ctx.data().call.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            held.release();
            let (hot, held) = (hot.clone(), held.clone());
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(async move {
                    // Even the only busy guest lets waiting tasks run first.
                    tokio::task::yield_now().await;
                    if let Ok(permit) = hot.acquire_owned().await {
                        held.hold(permit);
                    }
                }),
            ))
        });
    }
}
