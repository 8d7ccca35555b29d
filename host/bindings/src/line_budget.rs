//! A limit on what is logged in a second: the output of one component, or one repeated warning.
//!
//! Lines that do not fit are counted and dropped; the count is reported once when the second is over, even if no more
//! lines come. A second begins with the first line after the previous second has ended, so a quiet log costs nothing.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of budgets of lines.
    pub(crate) const FIXED_LIMITS = "output of components";

    /// The period over which a component's output is counted.
    const PERIOD: Duration = Duration::from_secs(1);
}

/// How much may be logged in a second, in bytes or lines; its owner chooses the unit.
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
    /// An unused budget of `per_second`.
    pub fn new(per_second: usize) -> Arc<Self> {
        Arc::new(LineBudget { per_second, state: Mutex::new(State { begun: Instant::now(), used: 0, dropped: 0 }) })
    }

    /// Whether a line that counts as `cost` may be logged. If not, the caller drops it, and at the end of the second
    /// `report` is called once with the number of all dropped lines.
    ///
    /// The report needs a tokio runtime; without one, lines are dropped without a report.
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
            // The report comes although nothing else happens.
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
