//! What all instances of an application may take together: linear memory, and open files.
//!
//! The bounds of one instance times their number is more than most machines have. Whoever asks for what would exceed the
//! sum fails; what others have already is theirs.

pub use souk_manifest::budget::Budget;

/// The budgets of an application.
#[derive(Debug)]
pub struct ApplicationBudget {
    /// Bytes of the linear memories of all instances.
    pub memory: Budget,
    /// Files that guests have open.
    pub files: Budget,
}

impl Default for ApplicationBudget {
    fn default() -> Self {
        ApplicationBudget { memory: Budget::new(u64::MAX), files: Budget::new(u64::MAX) }
    }
}
