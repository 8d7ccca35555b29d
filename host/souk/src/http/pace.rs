//! The minimum rate of a client, which limits how long it may keep the host waiting.
//!
//! A fixed time for a whole body is too short for a large body on a slow line, yet too long for a client that sends a
//! byte now and then. So a client has an allowance of time. While the host waits for the client, the allowance shrinks.
//! Each byte that the client sends or reads refills it, by one second per `rate` bytes, up to its initial value.

use std::time::Duration;

/// The rest of a client's allowance.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    left: Duration,
    most: Duration,
    /// How many bytes refill one second.
    rate: u64,
}

impl Pace {
    /// An allowance of `most`; each `rate` bytes refill one second.
    pub fn new(most: Duration, rate: u64) -> Self {
        Pace { left: most, most, rate: rate.max(1) }
    }

    /// How much longer the client may keep the host waiting.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// The host has waited for `waited`, and `bytes` were sent or received.
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
                // One byte per millisecond, rounded in the client's favour.
                pace.used(Duration::from_micros(micros), micros.div_ceil(1000));
                prop_assert_eq!(pace.left(), Duration::from_secs(2));
            }
        }
    }
}
