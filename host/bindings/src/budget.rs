//! What all instances of an application may take together: linear memory, and open files.
//!
//! The bounds of one instance times their number is more than most machines have. Whoever asks for what would exceed the
//! sum fails; what others have already is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A sum with a bound.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicU64,
    most: u64,
}

impl Budget {
    /// A sum of at most `most`.
    pub fn new(most: u64) -> Self {
        Budget { taken: AtomicU64::new(0), most }
    }

    /// The bound.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// What is taken now.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `amount` more, or nothing when that would exceed the bound.
    pub(crate) fn try_take(&self, amount: u64) -> bool {
        let more = |taken: u64| taken.checked_add(amount).filter(|all| *all <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `amount` more, whatever the bound.
    pub(crate) fn take(&self, amount: u64) {
        self.taken.fetch_add(amount, Ordering::Relaxed);
    }

    /// Gives `amount` back.
    pub(crate) fn give_back(&self, amount: u64) {
        self.taken.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// The budgets of an application.
#[derive(Debug)]
pub struct ApplicationBudget {
    /// Bytes of the linear memories of all instances.
    pub memory: Budget,
    /// Files that guests have open, and the host for clients.
    pub files: Budget,
}

impl ApplicationBudget {
    /// Takes one open file of the budget, until what it returns is dropped; `None` when all are taken.
    pub fn open_file(self: &Arc<Self>) -> Option<OpenFile> {
        self.files.try_take(1).then(|| OpenFile(self.clone()))
    }
}

/// An open file that the budget counts.
#[derive(Debug)]
pub struct OpenFile(Arc<ApplicationBudget>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.files.give_back(1);
    }
}

impl Default for ApplicationBudget {
    fn default() -> Self {
        ApplicationBudget { memory: Budget::new(u64::MAX), files: Budget::new(u64::MAX) }
    }
}
