//! The calls in progress on a host, so that their callers can cancel them.
//!
//! Calls and cancellations arrive on different subscriptions, each with its own reader, so a cancellation may be read
//! before its call. It is then kept for [`PREMATURE_CANCEL_TTL`], and its call is not started. Every host of a
//! component gets every cancellation, so most of those that are kept belong to calls on other hosts. Beyond
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

    /// How long a cancellation is kept if its call has not arrived yet.
    pub(super) const PREMATURE_CANCEL_TTL: Duration = Duration::from_secs(5);
    /// The most such cancellations that are kept; with ids of full length, they take about a MiB.
    pub(super) const MAX_PREMATURE_CANCELS: usize = 4096, "calls";
}

/// The calls in progress that can be cancelled.
#[derive(Default)]
pub(super) struct Running(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    in_progress: HashMap<String, AbortHandle>,
    /// The ids of calls that were cancelled before they arrived.
    premature: HashSet<Arc<str>>,
    /// The same ids, oldest first, and when they are forgotten.
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Running {
    /// Starts the call `id` with `spawn`, unless it was cancelled before; returns whether it was started.
    pub(super) fn begin(&self, id: &str, spawn: impl FnOnce() -> AbortHandle) -> bool {
        // Locked until the task is recorded, so that a task which ends at once does not stay recorded forever.
        let mut calls = self.calls();
        calls.forget(Instant::now());
        if calls.premature.contains(id) {
            return false;
        }
        calls.in_progress.insert(id.to_owned(), spawn());
        true
    }

    /// Forgets the call `id`, which has ended.
    pub(super) fn end(&self, id: &str) {
        self.calls().in_progress.remove(id);
    }

    /// Aborts the call `id`, or remembers not to start it; returns whether it was in progress.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let mut calls = self.calls();
        match calls.in_progress.remove(id) {
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
    async fn a_call_that_is_cancelled_before_it_arrives_is_not_started() {
        let running = Running::default();
        assert!(!running.cancel("a"));
        assert!(!running.begin("a", task));
        assert!(running.begin("b", task));
        assert!(running.cancel("b"));
        assert!(running.begin("c", task));
        running.end("c");
        assert!(running.calls().in_progress.is_empty());
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
