//! Limits what statements write to temporary files, for sorts and for intermediate tables that exceed a cache.
//!
//! SQLite has no limit for these files and deletes them as soon as they are open, so their size is not visible. But a
//! statement runs on one thread from start to end, and Linux counts the bytes that each thread writes. The growth of
//! this count during a read is what the read wrote to temporary files. It is checked every few milliseconds, for the
//! first time after one: what a statement writes in its first millisecond is not counted, and most statements have ended
//! by then. On other systems nothing is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Calls of the progress handler between two readings of the clock: about 160 steps of the virtual machine.
const CALLS: u64 = 16;

souk_manifest::fixed_limits! {
    /// The fixed limits of temporary files.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How long a statement runs before its writes are counted.
    const FIRST_FILE_CHECK: Duration = Duration::from_millis(1);
    /// How often to ask the system how much a statement has written to files; each time costs a few microseconds.
    const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(10);
}

/// No count has been read.
const UNREAD: u64 = u64::MAX;

/// The line of the thread's I/O counters with the bytes that it wrote.
const WRITTEN: &str = "wchar: ";

/// How much all running statements of one database together may write to temporary files.
#[derive(Debug)]
pub(super) struct SpillBudget {
    taken: AtomicU64,
    max_bytes: u64,
}

impl SpillBudget {
    pub(super) fn new(max_bytes: u64) -> Self {
        SpillBudget { taken: AtomicU64::new(0), max_bytes }
    }
}

/// How much the current run of one connection has written.
#[derive(Debug)]
pub(super) struct Spill {
    budget: Arc<SpillBudget>,
    calls: AtomicU64,
    epoch: Instant,
    /// When to read the count next, in milliseconds since the epoch.
    next: AtomicU64,
    /// The thread's count at the run's first reading; [`UNREAD`] before it.
    before: AtomicU64,
    /// The part of the budget that the run uses.
    taken: AtomicU64,
    over: AtomicBool,
}

impl Spill {
    pub(super) fn new(budget: Arc<SpillBudget>) -> Self {
        Spill {
            budget,
            calls: AtomicU64::new(0),
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            before: AtomicU64::new(UNREAD),
            taken: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// The most bytes that the database's statements may write to temporary files.
    pub(super) fn max_bytes(&self) -> u64 {
        self.budget.max_bytes
    }

    /// Called when a run begins on this thread.
    pub(super) fn begin(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.next.store(self.now().saturating_add(millis(FIRST_FILE_CHECK)), Ordering::Relaxed);
        self.before.store(UNREAD, Ordering::Relaxed);
    }

    /// Called when the run has ended and its files are gone.
    pub(super) fn end(&self) {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        self.budget.taken.fetch_sub(taken, Ordering::Relaxed);
    }

    /// Whether the run must end because its database's statements have written too much. Call it on the run's thread.
    pub(super) fn is_too_much(&self) -> bool {
        if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(CALLS) {
            return false;
        }
        let now = self.now();
        if now < self.next.load(Ordering::Relaxed) {
            return false;
        }
        self.next.store(now.saturating_add(millis(FILE_CHECK_INTERVAL)), Ordering::Relaxed);
        let Some(written) = written() else {
            return false;
        };
        let before = self.before.load(Ordering::Relaxed);
        if before == UNREAD {
            self.before.store(written, Ordering::Relaxed);
            return false;
        }
        let now = written.saturating_sub(before);
        let more = now.saturating_sub(self.taken.swap(now, Ordering::Relaxed));
        let all = self.budget.taken.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let over = more > 0 && all > self.budget.max_bytes;
        self.over.fetch_or(over, Ordering::Relaxed);
        over
    }

    fn now(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    /// Whether the run was ended because of this limit.
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
