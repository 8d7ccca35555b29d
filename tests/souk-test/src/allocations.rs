//! An allocator that counts, for tests of what something costs.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

/// The type of [`COUNTING`].
pub type Counting = &'static StatsAlloc<System>;

/// The system's allocator, which counts. A test binary makes it its `#[global_allocator]`.
pub static COUNTING: Counting = &INSTRUMENTED_SYSTEM;

/// How often memory was asked for so far, by all threads; growing what one has counts, giving it back does not.
pub fn allocations() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.allocations + stats.reallocations
}
