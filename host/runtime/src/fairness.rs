//! Fairness between busy components: CPU slices by epoch, and the "hot" semaphore.
//!
//! A guest that computes without waiting (for example to hash passwords) would occupy a thread of the runtime; two
//! would stop a host with two threads. So every guest yields after a slice of CPU time, and a guest that has used up a
//! slice must hold one of (threads - 1) permits to go on: one thread is always free for short calls. Measured with two
//! busy loops on two threads, the median of other calls is 0.1 ms; with yields alone it is 5 to 10 ms.
//!
//! Components take turns at the permits: a call that is a little longer than a slice waits for a slice of each busy
//! component, not for all calls of the busiest one.

use super::profile::Profiler;
use souk_bindings::Ctx;
use souk_bindings::fair::FairSemaphore;
use std::sync::Arc;
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};

/// The permits for guests that have used up a slice.
#[derive(Clone)]
pub struct Fairness {
    hot: FairSemaphore<Arc<str>>,
}

impl Fairness {
    /// The permits for a runtime with `threads` worker threads.
    pub fn new(threads: usize) -> Self {
        Fairness { hot: FairSemaphore::new(threads.saturating_sub(1).max(1)) }
    }

    /// Makes `store` yield after every slice, trap once its call's deadline has passed, and give samples to `profiler`.
    pub(super) fn limit_processor_time(&self, store: &mut Store<Ctx>, profiler: &Profiler) {
        let (hot, held, profiler) = (self.hot.clone(), store.data().slice.clone(), profiler.clone());
        store.epoch_deadline_callback(move |ctx| {
            profiler.sample(&ctx);
            if Instant::now() >= ctx.data().call.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            held.release();
            let (hot, held, component) = (hot.clone(), held.clone(), ctx.data().grants.component.clone());
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(async move {
                    // Waiting tasks run first, even if this is the only busy guest.
                    tokio::task::yield_now().await;
                    held.hold(hot.acquire(component).await);
                }),
            ))
        });
    }
}
