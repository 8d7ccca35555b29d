//! The calls that a host has under way, so that their callers can cancel them.
//!
//! Calls and cancellations arrive on different subscriptions, each with a reader of its own: a cancellation may be read
//! before the call that it is of. So it is kept for [`PREMATURE_CANCEL_TTL`], and its call is not begun. Each host of a
//! component hears of every cancellation, so most of those kept are of calls that other hosts have; beyond
//! [`MAX_PREMATURE_CANCELS`] the oldest is forgotten, and its call then runs to its deadline.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of cancelled calls.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long a cancellation is kept whose call has not arrived yet.
    pub(super) const PREMATURE_CANCEL_TTL: Duration = Duration::from_secs(5);
    /// The most such cancellations that are kept: with ids of full length, about a MiB.
    pub(super) const MAX_PREMATURE_CANCELS: usize = 4096, "calls";
}

/// The calls under way that can be cancelled.
#[derive(Default)]
pub(super) struct Running(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    under_way: HashMap<String, AbortHandle>,
    /// The ids of calls that were cancelled before they arrived.
    premature: HashSet<Arc<str>>,
    /// The same, the oldest first, and when they are forgotten.
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Running {
    /// Begins the call `id` by `spawn`, unless it was cancelled before; says whether it was begun.
    pub(super) fn begin(&self, id: &str, spawn: impl FnOnce() -> AbortHandle) -> bool {
        // Held until the task is noted, so that one which is over at once does not stay there for good.
        let mut calls = self.calls();
        calls.forget(Instant::now());
        if calls.premature.contains(id) {
            return false;
        }
        calls.under_way.insert(id.to_owned(), spawn());
        true
    }

    /// The call `id` is over.
    pub(super) fn end(&self, id: &str) {
        self.calls().under_way.remove(id);
    }

    /// Ends the call `id`, or keeps in mind that it is not to begin; says whether it was under way.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let mut calls = self.calls();
        match calls.under_way.remove(id) {
            Some(task) => {
                task.abort();
                true
            }
            None => {
                calls.keep(id, Instant::now());
                false
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock()
    }
}

impl Calls {
    fn keep(&mut self, id: &str, now: Instant) {
        self.forget(now);
        let id: Arc<str> = id.into();
        if self.premature.insert(id.clone()) {
            self.order.push_back((now + PREMATURE_CANCEL_TTL, id));
        }
        if self.order.len() > MAX_PREMATURE_CANCELS {
            self.forget_oldest();
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.premature.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> AbortHandle {
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    }

    #[tokio::test]
    async fn a_call_that_is_cancelled_before_it_is_there_is_not_begun() {
        let running = Running::default();
        assert!(!running.cancel("a"));
        assert!(!running.begin("a", task));
        assert!(running.begin("b", task));
        assert!(running.cancel("b"));
        assert!(running.begin("c", task));
        running.end("c");
        assert!(running.calls().under_way.is_empty());
    }

    #[test]
    fn cancellations_are_forgotten_after_a_while_and_beyond_a_number() {
        let (mut calls, start) = (Calls::default(), Instant::now());
        for n in 0..=MAX_PREMATURE_CANCELS {
            calls.keep(&n.to_string(), start);
            calls.keep(&n.to_string(), start);
        }
        assert_eq!((calls.premature.len(), calls.order.len()), (MAX_PREMATURE_CANCELS, MAX_PREMATURE_CANCELS));
        assert!(!calls.premature.contains("0") && calls.premature.contains("1"));
        calls.forget(start + PREMATURE_CANCEL_TTL);
        assert!(calls.premature.is_empty() && calls.order.is_empty());
    }
}
