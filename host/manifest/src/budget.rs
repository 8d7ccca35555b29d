//! Budgets: how much of something an owner holds, and the most that it may.
//!
//! Each owner of what is bounded in sum has one: the application has one of linear memory and one of open files, the edge
//! has one of the bytes of requests and responses, which it divides among peers and connections. What is over a budget
//! fails for the one who asks, or ends what the same owner has left standing; what others hold is theirs.
//!
//! Here, in the lowest crate, because bindings and edge both have some, and `souk limits` prints the use of all.

use crate::limits::LimitValue;
use bytesize::ByteSize;
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
    pub fn try_take(&self, amount: u64) -> bool {
        let more = |taken: u64| taken.checked_add(amount).filter(|all| *all <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `amount` more, whatever the bound.
    pub fn take(&self, amount: u64) {
        self.taken.fetch_add(amount, Ordering::Relaxed);
    }

    /// Gives `amount` back.
    pub fn give_back(&self, amount: u64) {
        self.taken.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// How much of a budget is used: a line of `souk limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The key of the limit in the manifest, or what the budget is of.
    pub name: String,
    /// What is taken now.
    pub taken: LimitValue,
    /// The bound.
    pub most: LimitValue,
}

impl Use {
    /// The use of a budget of bytes.
    pub fn bytes(name: impl Into<String>, taken: u64, most: u64) -> Self {
        let bytes = |bytes| LimitValue::Bytes(ByteSize::b(bytes));
        Use { name: name.into(), taken: bytes(taken), most: bytes(most) }
    }

    /// The use of a budget of what `unit` names.
    pub fn count(name: impl Into<String>, taken: u64, most: u64, unit: &'static str) -> Self {
        Use { name: name.into(), taken: LimitValue::Count(taken, unit), most: LimitValue::Count(most, unit) }
    }
}
