//! Budgets: how much of a resource an owner holds, and the most that it may hold.
//!
//! The application has a budget for linear memory and one for open files. The HTTP edge has one for the bytes of
//! requests and responses, which it divides among peers and connections. When a budget is exceeded, the new request for
//! more fails, or the host ends an idle request of the same owner; other owners are not affected.
//!
//! This module is in the lowest crate because both the bindings and the edge have budgets, and `souk limits` prints the
//! use of all of them.

use crate::limits::LimitValue;
use bytesize::ByteSize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with a bound.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicU64,
    limit: u64,
}

impl Budget {
    /// An empty budget of at most `limit`.
    pub fn new(limit: u64) -> Self {
        Budget { taken: AtomicU64::new(0), limit }
    }

    /// The bound.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What is taken now.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `amount` more, or nothing when that would exceed the bound.
    pub fn try_take(&self, amount: u64) -> bool {
        let more = |taken: u64| taken.checked_add(amount).filter(|all| *all <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `amount` more, even if that exceeds the bound.
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
    /// The key of the limit in the manifest, or the name of the resource.
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

    /// The use of a budget that counts things of the kind `unit`.
    pub fn count(name: impl Into<String>, taken: u64, most: u64, unit: &'static str) -> Self {
        Use { name: name.into(), taken: LimitValue::Count(taken, unit), most: LimitValue::Count(most, unit) }
    }
}
