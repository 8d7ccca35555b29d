//! What statements write to temporary files: sorters, and intermediate tables that are larger than a cache.
//!
//! SQLite has no bound on these files and deletes them as soon as they are open, so that nobody else can see their
//! size. But a statement runs on one thread from its start to its end, and Linux counts the bytes that each thread
//! writes; what the count grows by during a read is what it wrote to temporary files. That is looked at every few
//! milliseconds. Elsewhere than on Linux nothing is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Calls of the progress handler between two looks at the clock: some 160 steps of the virtual machine.
const CALLS: u64 = 16;

souk_manifest::fixed_limits! {
    /// The fixed limits of temporary files.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How often to ask the system how much a statement has written to files; asking costs a few microseconds.
    const ASK_INTERVAL: Duration = Duration::from_millis(10);
}

/// The line of the thread's counts that has the bytes it wrote.
const WRITTEN: &str = "wchar: ";

/// What the statements under way of one database may write to temporary files in all.
#[derive(Debug)]
pub(super) struct SpillBudget {
    taken: AtomicU64,
    most: u64,
}

impl SpillBudget {
    pub(super) fn new(most: u64) -> Self {
        SpillBudget { taken: AtomicU64::new(0), most }
    }
}

/// What the run under way of one connection has written.
#[derive(Debug)]
pub(super) struct Spill {
    budget: Arc<SpillBudget>,
    calls: AtomicU64,
    epoch: Instant,
    /// When the system was last asked, in milliseconds since the epoch.
    asked: AtomicU64,
    /// What the thread had written when the run began.
    before: AtomicU64,
    /// What the run has taken of the budget.
    taken: AtomicU64,
    over: AtomicBool,
}

impl Spill {
    pub(super) fn new(budget: Arc<SpillBudget>) -> Self {
        Spill {
            budget,
            calls: AtomicU64::new(0),
            epoch: Instant::now(),
            asked: AtomicU64::new(0),
            before: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// The most bytes that the database's statements may write to temporary files.
    pub(super) fn most(&self) -> u64 {
        self.budget.most
    }

    /// A run begins on this thread.
    pub(super) fn begin(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.asked.store(self.now(), Ordering::Relaxed);
        self.before.store(written().unwrap_or(0), Ordering::Relaxed);
    }

    /// The run has ended, and its files are gone.
    pub(super) fn end(&self) {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        self.budget.taken.fetch_sub(taken, Ordering::Relaxed);
    }

    /// Whether the run must end because its database's statements have written too much. Called from its thread.
    pub(super) fn is_too_much(&self) -> bool {
        if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(CALLS) {
            return false;
        }
        let now = self.now();
        if now < self.asked.load(Ordering::Relaxed).saturating_add(millis(ASK_INTERVAL)) {
            return false;
        }
        self.asked.store(now, Ordering::Relaxed);
        let Some(written) = written() else {
            return false;
        };
        let now = written.saturating_sub(self.before.load(Ordering::Relaxed));
        let more = now.saturating_sub(self.taken.swap(now, Ordering::Relaxed));
        let all = self.budget.taken.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let over = more > 0 && all > self.budget.most;
        self.over.fetch_or(over, Ordering::Relaxed);
        over
    }

    fn now(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    /// Whether the run was ended for this.
    pub(super) fn ended_the_run(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The bytes that this thread has written to files.
fn written() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix(WRITTEN))?.parse().ok()
}
