//! The shared state of a connection's hooks and its users: when its run must end, and why.

use super::spill::{Spill, SpillBudget};
use parking_lot::Mutex;
use rusqlite::ErrorCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The shared state of one connection's hooks and its users.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// The zero of the times in this struct.
    epoch: Instant,
    /// When the run must end, in nanoseconds since the epoch; [`NEVER`] on a blocking thread.
    end: AtomicU64,
    /// The number of the last run.
    run: AtomicU64,
    /// The last run that was cancelled.
    cancelled: AtomicU64,
    /// Whether a row was inserted since the run began.
    inserted: AtomicBool,
    /// Whether the run failed in a way after which SQLite rolls back by itself.
    may_have_rolled_back: AtomicBool,
    /// Whether a virtual table was created.
    virtual_table: AtomicBool,
    /// Whether a statement with `LIKE` or `GLOB` was compiled.
    pattern: AtomicBool,
    /// Whether a statement that lets the schema grow was compiled.
    creates: AtomicBool,
    /// The policy's last denial, with its reason.
    denied: Mutex<Option<String>>,
    /// Whether the host itself runs the statement, not a guest: then nothing is denied.
    trusted: AtomicBool,
    /// The bytes that the run has written to temporary files.
    pub(super) spill: Spill,
}

/// The end of a run that may take as long as its caller waits.
const NEVER: u64 = u64::MAX;

impl Default for Gauge {
    fn default() -> Self {
        Gauge::new(Arc::new(SpillBudget::new(u64::MAX)))
    }
}

impl Gauge {
    /// The gauge of a connection whose temporary files count against `spill`.
    pub(super) fn new(spill: Arc<SpillBudget>) -> Self {
        Gauge {
            epoch: Instant::now(),
            end: AtomicU64::new(NEVER),
            run: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            inserted: AtomicBool::new(false),
            may_have_rolled_back: AtomicBool::new(false),
            virtual_table: AtomicBool::new(false),
            pattern: AtomicBool::new(false),
            creates: AtomicBool::new(false),
            denied: Mutex::new(None),
            trusted: AtomicBool::new(false),
            spill: Spill::new(spill),
        }
    }
}

impl Gauge {
    pub(crate) fn note_denied(&self, why: String) {
        *self.denied.lock() = Some(why);
    }

    pub(super) fn take_denied(&self) -> Option<String> {
        self.denied.lock().take()
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(super) fn note_virtual_table(&self) {
        self.virtual_table.store(true, Ordering::Relaxed);
    }

    pub(super) fn note_pattern(&self) {
        self.pattern.store(true, Ordering::Relaxed);
    }

    /// Whether a statement with `LIKE` or `GLOB` was compiled since the last call of this function.
    pub(super) fn take_pattern(&self) -> bool {
        self.pattern.load(Ordering::Relaxed) && self.pattern.swap(false, Ordering::Relaxed)
    }

    pub(super) fn note_creates(&self) {
        self.creates.store(true, Ordering::Relaxed);
    }

    /// Whether a statement that lets the schema grow was compiled since the last call of this function.
    pub(super) fn take_creates(&self) -> bool {
        self.creates.load(Ordering::Relaxed) && self.creates.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) == self.run.load(Ordering::Relaxed)
    }

    /// Limits the current run to the time of a read on an async thread.
    pub(super) fn set_inline_time_limit(&self) {
        self.set_time_limit(super::INLINE_TIME);
    }

    /// Limits the current run and those after it, together, to `time`.
    pub(super) fn set_time_limit(&self, time: Duration) {
        self.end.store(self.now().saturating_add(nanos(time)), Ordering::Relaxed);
    }

    /// Lets the current run take as long as its caller waits.
    pub(super) fn remove_time_limit(&self) {
        self.end.store(NEVER, Ordering::Relaxed);
    }

    /// Begins a run, and returns its number.
    fn begin(&self) -> u64 {
        self.inserted.store(false, Ordering::Relaxed);
        self.may_have_rolled_back.store(false, Ordering::Relaxed);
        self.run.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn note_failed(&self, code: Option<ErrorCode>) {
        use ErrorCode::{DiskFull, OperationInterrupted, OutOfMemory, SystemIoFailure};
        let rolls_back = matches!(code, Some(DiskFull | OperationInterrupted | OutOfMemory | SystemIoFailure));
        self.may_have_rolled_back.fetch_or(rolls_back, Ordering::Relaxed);
    }

    pub(super) fn may_have_rolled_back(&self) -> bool {
        self.may_have_rolled_back.load(Ordering::Relaxed)
    }

    pub(super) fn note_inserted(&self) {
        self.inserted.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_inserted(&self) -> bool {
        self.inserted.load(Ordering::Relaxed)
    }

    /// Whether a virtual table was created since the last call of this function.
    pub(super) fn take_virtual_table(&self) -> bool {
        self.virtual_table.swap(false, Ordering::Relaxed)
    }

    /// Runs `work` as the host itself: nothing is denied, and nothing ends it.
    pub(super) fn trusting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.trusted.store(true, Ordering::Relaxed);
        let done = work();
        self.trusted.store(false, Ordering::Relaxed);
        done
    }

    pub(super) fn is_inline(&self) -> bool {
        self.end.load(Ordering::Relaxed) != NEVER
    }

    fn now(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }

    /// Called by SQLite between steps; `true` ends the statement.
    pub(super) fn is_over(&self) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        if self.is_trusted() {
            return false;
        }
        // A read on an async thread is too small to write temporary files.
        (if end == NEVER { self.spill.is_too_much() } else { self.now() >= end }) || self.is_cancelled()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

/// One run of one statement. Dropping it ends the statement at its next check of the budget; after the statement has
/// ended, it does nothing.
#[derive(Debug)]
pub(super) struct Run {
    gauge: Arc<Gauge>,
    number: u64,
}

impl Run {
    /// Begins a run of the connection whose gauge this is.
    pub(super) fn begin(gauge: &Arc<Gauge>) -> Self {
        Run { gauge: gauge.clone(), number: gauge.begin() }
    }

    /// Returns a handle that can end the run.
    pub(super) fn stopper(&self) -> Stopper {
        Stopper { gauge: self.gauge.clone(), number: self.number }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stopper().stop();
    }
}

/// Ends one run at its next check of the budget, as dropping its [`Run`] does.
#[derive(Debug)]
pub(super) struct Stopper {
    gauge: Arc<Gauge>,
    number: u64,
}

impl Stopper {
    pub(super) fn stop(&self) {
        self.gauge.cancelled.fetch_max(self.number, Ordering::Release);
    }
}
