//! Writes that others came before, one after the other: each tries again, and does not do so for ever.
//!
//! Whoever loses to another is the one who is late, so the next try is at once. Who loses again and again pauses, longer
//! each time and for a time that is drawn, so that those who compete do not go on in step. (Own code: what `backon` draws
//! only lengthens a pause, which leaves those who compete closer together.)

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
    /// One more: waits until it is time for the next try.
    ///
    /// # Errors
    /// When there were too many.
    pub(super) async fn again(&mut self, label: &Arc<str>) -> Result<(), StoreError> {
        self.0 += 1;
        if self.0 >= MAX_TRIES {
            let cause = format!("somebody else wrote the key first, {MAX_TRIES} times in a row");
            return Err(StoreError::Server { label: label.clone(), cause });
        }
        if let Some(max_pause) = max_pause(self.0) {
            // Without randomness there is no jitter, which is no reason to stop.
            let part = souk_manifest::clock::jitter().map_or(u32::MAX / 2, |random| (random >> 32) as u32);
            sleep(max_pause.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
        }
        Ok(())
    }
}

/// The max_pause pause after conflict number `count`; none after the first.
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
