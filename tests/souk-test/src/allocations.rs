//! An allocator that counts allocations, for tests of how much memory work an operation costs.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

/// The type of [`COUNTING`].
pub type Counting = &'static StatsAlloc<System>;

/// The system's allocator, which counts. A test binary makes it its `#[global_allocator]`.
pub static COUNTING: Counting = &INSTRUMENTED_SYSTEM;

/// The number of allocations so far, in all threads. A reallocation counts too; freeing memory does not.
pub fn allocations() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.allocations + stats.reallocations
}
