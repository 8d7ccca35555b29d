//! How long a message waits for its next delivery: exponential back-off with jitter, up to a maximum.
//!
//! Jitter shortens a pause by up to a half, so that messages that failed together do not come back together, and no
//! pause is longer than the limit. The crate `backon` does not fit here: it counts attempts in memory, but the pause
//! depends on a message's stored number of attempts, which survives restarts and moves between hosts.

use souk_manifest::limits::ComponentLimits;
use std::time::Duration;

/// The pauses between the deliveries of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    pub(super) fn of(limits: &ComponentLimits) -> Self {
        Backoff { first: limits.delivery_backoff, most: limits.delivery_backoff_most }
    }

    /// The pause after delivery number `attempt`, counted from 1.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        // If the system gives no randomness, the pause has no jitter.
        self.pause_with(attempt, souk_manifest::clock::jitter().unwrap_or(0))
    }

    /// The longest pause.
    pub(super) fn longest(&self) -> Duration {
        self.most
    }

    /// The pause in whole milliseconds: the queues store due times in milliseconds.
    fn pause_with(&self, attempt: u32, random: u64) -> Duration {
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let pause = millis(self.first).saturating_mul(doubled).min(millis(self.most));
        let jitter = random % (pause / 2 + 1);
        Duration::from_millis(pause - jitter)
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
            let backoff = Backoff { first: Duration::from_millis(first), most: Duration::from_millis(most) };
            let pause = backoff.pause_with(attempt, random).as_millis();
            prop_assert!(pause <= u128::from(full), "{pause} > {full}");
            prop_assert!(pause >= u128::from(full / 2), "{pause} < {full} / 2");
        }

        #[test]
        fn jitter_spreads_the_pauses_of_messages_that_failed_together(random: u64) {
            let second = Duration::from_secs(1);
            let backoff = Backoff { first: second, most: second };
            prop_assert_eq!(backoff.pause_with(1, random), second - Duration::from_millis(random % 501));
        }
    }

    #[test]
    fn the_default_pauses_and_attempts_last_about_a_day() {
        let limits = ComponentLimits::default();
        let backoff = Backoff::of(&limits);
        // Jitter takes a quarter of a pause away on average.
        let mean = |attempt: u64| backoff.pause_with(u32::try_from(attempt).unwrap(), 0).mul_f64(0.75);
        let hours = (1..limits.delivery_attempts).map(mean).sum::<Duration>().as_secs_f64() / 3_600.0;
        assert!((20.0..28.0).contains(&hours), "{hours} h");
    }
}
