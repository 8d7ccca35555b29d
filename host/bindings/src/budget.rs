//! The budgets that all instances of an application share: linear memory and open files.
//!
//! The limits of one instance, multiplied by the number of instances, exceed what most machines have. A request that
//! would exceed the shared budget fails; what other instances already hold stays theirs.

pub use souk_manifest::budget::Budget;
use std::sync::Arc;

/// The budgets of an application.
#[derive(Debug)]
pub struct ApplicationBudget {
    /// Bytes of the linear memories of all instances, and of values that the host holds for them.
    pub memory: Budget,
    /// Files that guests have open, and that the host has open for clients.
    pub files: Budget,
}

impl ApplicationBudget {
    /// Takes one open file of the budget, until the returned value is dropped; `None` when all are in use.
    pub fn open_file(self: &Arc<Self>) -> Option<OpenFile> {
        self.files.try_take(1).then(|| OpenFile(self.clone()))
    }

    /// Takes `bytes` of memory of the budget, until the returned value is dropped; `None` when less is left.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Option<HeldMemory> {
        self.memory.try_take(bytes).then(|| HeldMemory { budget: self.clone(), bytes })
    }

    /// Tells a guest why rows of `bytes` are not kept until it reads them.
    pub(crate) fn no_room_for_rows(&self, bytes: usize) -> String {
        format!(
            "{bytes} bytes of rows are unread, and the application has reached its limit of {} bytes; read less, or raise \
             `application_memory` under [application.tool.souk.limits] in the manifest",
            self.memory.limit()
        )
    }
}

/// Memory of the host that the budget counts.
#[derive(Debug)]
pub struct HeldMemory {
    budget: Arc<ApplicationBudget>,
    bytes: u64,
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.budget.memory.give_back(self.bytes);
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
