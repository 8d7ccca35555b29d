//! How long a message waits for its next delivery: twice as long each time, up to a most, with jitter.
//!
//! Jitter takes up to half of a pause away, so that messages that failed together do not come back together, and no
//! pause is longer than the limit says.

use souk_manifest::limits::ComponentLimits;
use std::time::Duration;

/// The pauses between the deliveries of a message, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: u64,
    most: u64,
}

impl Backoff {
    pub(super) fn of(limits: &ComponentLimits) -> Self {
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Backoff { first: millis(limits.delivery_backoff), most: millis(limits.delivery_backoff_most) }
    }

    /// The pause after delivery number `attempt`, counted from 1.
    pub(super) fn pause(&self, attempt: u32) -> i64 {
        // Without randomness there is no jitter, which is no reason to stop.
        self.pause_with(attempt, getrandom::u64().unwrap_or(0))
    }

    /// The longest pause, in milliseconds.
    pub(super) fn most(&self) -> i64 {
        i64::try_from(self.most).unwrap_or(i64::MAX)
    }

    fn pause_with(&self, attempt: u32, random: u64) -> i64 {
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let pause = self.first.saturating_mul(doubled).min(self.most);
        let jitter = random % (pause / 2 + 1);
        i64::try_from(pause - jitter).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_the_doubled_first_or_the_most_less_up_to_half(
            first in 1_u64..1_000_000, most in 1_u64..100_000_000, attempt in 1_u32..200, random: u64
        ) {
            let full = (0..attempt.min(64) - 1).fold(first, |pause, _| pause.saturating_mul(2)).min(most);
            let pause = u64::try_from(Backoff { first, most }.pause_with(attempt, random)).unwrap();
            prop_assert!(pause <= full, "{pause} > {full}");
            prop_assert!(pause >= full / 2, "{pause} < {full} / 2");
        }

        #[test]
        fn jitter_spreads_the_pauses_of_messages_that_failed_together(random: u64) {
            let backoff = Backoff { first: 1000, most: 1000 };
            prop_assert_eq!(backoff.pause_with(1, random), 1000 - i64::try_from(random % 501).unwrap());
        }
    }

    #[test]
    fn the_default_pauses_and_attempts_last_about_a_day() {
        let limits = ComponentLimits::default();
        let backoff = Backoff::of(&limits);
        let mean = |attempt: u64| {
            let attempt = u32::try_from(attempt).unwrap();
            (backoff.pause_with(attempt, 0) + backoff.pause_with(attempt, backoff.pause_with(attempt, 0) as u64 / 2))
                / 2
        };
        let hours = (1..limits.delivery_attempts).map(mean).sum::<i64>() as f64 / 3_600_000.0;
        assert!((20.0..28.0).contains(&hours), "{hours} h");
    }
}
