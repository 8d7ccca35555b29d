//! When the log warns that a file is nearly full: a database's, or a key-value store's.

use super::{FREE_AGAIN_PERCENT, NEARLY_FULL_PERCENT};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the log has reported that a file is nearly full, and it still is.
#[derive(Debug, Default)]
pub(crate) struct NearlyFull(AtomicBool);

impl NearlyFull {
    /// Whether the log must report that the file uses `percent` of its limit: once, until there is room again.
    pub(crate) fn is_news(&self, percent: u64) -> bool {
        if percent < FREE_AGAIN_PERCENT {
            self.0.store(false, Ordering::Relaxed);
        }
        percent >= NEARLY_FULL_PERCENT && !self.0.swap(true, Ordering::Relaxed)
    }
}
