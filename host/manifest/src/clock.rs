//! The machine's clock and its random numbers: the one place of the host that asks for them.
//!
//! What counts time that passes uses `tokio::time::Instant`, which tests can pause; what is written down (a message's time, a
//! log line) uses [`now`]. `clippy.toml` refuses the standard library's own functions elsewhere.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day, by the machine's clock, which may be wrong and may be set back.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// What has passed since 1970-01-01T00:00:00Z; nothing where the clock stands before it.
pub fn since_epoch() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A moment to measure from, for what runs without tokio.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// A random number, for pauses that must not coincide; never for a secret. `None` where the system gives none.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn jitter() -> Option<u64> {
    getrandom::u64().ok()
}

/// Fills `bytes` with random ones that nobody can guess.
///
/// # Errors
/// Where the system gives none.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}

/// A number below `most`, evenly drawn and never by a client; for shares of calls, not for secrets. Costs no system call.
pub fn draw(most: u16) -> u16 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(jitter().unwrap_or(0) | 1);
    }
    STATE.with(|state| {
        // Xorshift64*: even enough to share calls out.
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        let high = (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        ((u64::from(high) * u64::from(most)) >> 32) as u16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_below_their_bound_and_about_even() {
        let mut counts = [0_u32; 10];
        (0..100_000).for_each(|_| counts[usize::from(draw(10))] += 1);
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}
