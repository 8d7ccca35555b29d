//! The least rate of a client: how long it may keep the host waiting.
//!
//! A fixed time for a whole body is too short for a large one on a slow line, and long enough for a byte now and then. So a
//! client has an allowance. Waiting for it uses the allowance up; what it sends or takes refills it, a second for so many
//! bytes, up to what it began with.

use std::time::Duration;

/// What a client has left.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    left: Duration,
    most: Duration,
    /// Bytes that buy a second.
    rate: u64,
}

impl Pace {
    /// An allowance of `most`, which `rate` bytes refill by a second.
    pub fn new(most: Duration, rate: u64) -> Self {
        Pace { left: most, most, rate: rate.max(1) }
    }

    /// How much longer the client may keep the host waiting.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// The host has waited for `waited`, and got rid of or received `bytes`.
    pub fn used(&mut self, waited: Duration, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let earned = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_byte_now_and_then_buys_next_to_nothing() {
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        for _ in 0..3 {
            pace.used(Duration::from_secs(9), 1);
        }
        assert!(pace.left() < Duration::from_millis(3_010), "{pace:?}");
        pace.used(Duration::from_secs(9), 1);
        assert!(pace.left() < Duration::from_millis(1), "{pace:?}");
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_rate_may_go_on_for_ever(steps in prop::collection::vec(1_u64..1_000_000, 1..100)) {
            let mut pace = Pace::new(Duration::from_secs(2), 1000);
            for micros in steps {
                // A byte a millisecond, rounded in the host's favour.
                pace.used(Duration::from_micros(micros), micros.div_ceil(1000));
                prop_assert_eq!(pace.left(), Duration::from_secs(2));
            }
        }
    }
}
