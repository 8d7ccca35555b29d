//! A bound on what may be logged in a second: of one component's output, or of one warning that repeats.
//!
//! What does not fit is counted and dropped, and the count is reported once when the second is over, also when nothing
//! more comes. A second begins with the first line after the last one has ended, so that a quiet log costs nothing.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of budgets of lines.
    pub(crate) const FIXED_LIMITS = "output of components";

    /// The time over which what a component prints is counted.
    const PERIOD: Duration = Duration::from_secs(1);
}

/// What may be logged in a second, in bytes or lines, as its owner counts.
#[derive(Debug)]
pub struct LineBudget {
    per_second: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    begun: Instant,
    used: usize,
    /// Lines that did not fit since the last report.
    dropped: u64,
}

impl LineBudget {
    /// A budget of `per_second`, of which nothing is used.
    pub fn new(per_second: usize) -> Arc<Self> {
        Arc::new(LineBudget { per_second, state: Mutex::new(State { begun: Instant::now(), used: 0, dropped: 0 }) })
    }

    /// Whether a line that counts as `cost` may be logged. If not, it is dropped, and `report` is called at the end of the
    /// second with the number of lines that were, once for all of them.
    ///
    /// The report needs a runtime of tokio; without one the line is dropped all the same.
    pub fn admits(self: &Arc<Self>, cost: usize, report: impl FnOnce(u64) + Send + 'static) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        if now.saturating_duration_since(state.begun) >= PERIOD {
            (state.begun, state.used) = (now, 0);
        }
        // The first line of a second always fits: a line may be larger than the budget.
        if state.used == 0 || state.used.saturating_add(cost) <= self.per_second {
            state.used = state.used.saturating_add(cost);
            return true;
        }
        state.dropped += 1;
        if state.dropped == 1 {
            let (budget, end) = (self.clone(), state.begun + PERIOD);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    tokio::time::sleep_until(end).await;
                    let dropped = std::mem::take(&mut budget.state().dropped);
                    report(dropped);
                });
            }
        }
        false
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_the_budget_is_dropped_and_reported_once_a_second() {
        let budget = LineBudget::new(100);
        let (report, mut reports) = mpsc::unbounded_channel();
        let admitted = || {
            let lines = (0..1000).filter(|_| {
                let report = report.clone();
                budget.admits(10, move |dropped| report.send(dropped).unwrap())
            });
            lines.count()
        };
        for _ in 0..3 {
            assert_eq!((admitted(), admitted()), (10, 0));
            assert!(reports.try_recv().is_err(), "the second is not over");
            // Nothing else happens, and the report comes.
            assert_eq!(reports.recv().await, Some(1990));
        }
        tokio::time::sleep(PERIOD).await;
        assert!(reports.try_recv().is_err(), "a second report");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_larger_than_the_budget_is_logged_when_it_is_the_first() {
        let budget = LineBudget::new(100);
        assert!(budget.admits(1000, |_| {}));
        assert!(!budget.admits(1, |_| {}));
        tokio::time::advance(PERIOD).await;
        assert!(budget.admits(1000, |_| {}));
    }

    #[test]
    fn without_a_runtime_lines_are_dropped_without_a_report() {
        let budget = LineBudget::new(1);
        assert!(budget.admits(1, |_| {}));
        assert!(!budget.admits(1, |_| panic!("no runtime is there")));
    }
}
