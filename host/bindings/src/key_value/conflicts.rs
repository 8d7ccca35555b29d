//! Writes that lose against other writes of the same key: they are tried again, but not for ever.
//!
//! After the first conflict the next try follows at once, because the other write is already done. After each further
//! conflict the write pauses longer, for a random time, so that competing writers do not stay in step. (This is our own
//! code because `backon`'s jitter only lengthens a pause, which keeps competing writers closer together.)

use super::error::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

souk_manifest::fixed_limits! {
    /// The fixed limits of writes that conflict.
    pub(crate) const FIXED_LIMITS = "key-value";

    /// The most tries of one write that conflicts with others. So many fail only when something is wrong, or when far
    /// too many clients write one key.
    const MAX_TRIES: u32 = 100, "tries";
    /// The pause after the second conflict; it doubles each time.
    const MIN_PAUSE: Duration = Duration::from_millis(1);
    /// The longest pause between two tries of a write.
    const MAX_PAUSE: Duration = Duration::from_millis(64);
}

/// The conflicts of one write.
#[derive(Default)]
pub(super) struct Conflicts(u32);

impl Conflicts {
    /// Counts one more conflict, and waits until the next try.
    ///
    /// # Errors
    /// When there were too many conflicts.
    pub(super) async fn again(&mut self, label: &Arc<str>) -> Result<(), StoreError> {
        self.0 += 1;
        if self.0 >= MAX_TRIES {
            let cause = format!("another write of the key came first, {MAX_TRIES} times in a row");
            return Err(StoreError::Server { label: label.clone(), cause });
        }
        if let Some(max_pause) = max_pause(self.0) {
            // Without random bytes there is no jitter, but the write can go on.
            let part = souk_manifest::clock::jitter().map_or(u32::MAX / 2, |random| (random >> 32) as u32);
            sleep(max_pause.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
        }
        Ok(())
    }
}

/// The longest pause after conflict number `count`; `None` after the first.
fn max_pause(count: u32) -> Option<Duration> {
    let doublings = count.checked_sub(2)?;
    Some(MIN_PAUSE.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_conflict_costs_no_pause_and_later_ones_up_to_twice_the_last() {
        let millis = [0, 1, 2, 3, 7, 8, 9, 60, 99].map(|count| max_pause(count).map(|pause| pause.as_millis()));
        assert_eq!(millis, [None, None, Some(1), Some(2), Some(32), Some(64), Some(64), Some(64), Some(64)]);
    }
}
