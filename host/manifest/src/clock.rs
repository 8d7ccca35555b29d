//! The machine's clock and its random numbers. No other part of the host reads them directly, except that identifiers
//! are made by the crate `uuid`.
//!
//! Code that measures durations uses `tokio::time::Instant`, which tests can pause. Times that are stored or logged
//! come from [`now`]. `clippy.toml` forbids the standard library's own functions elsewhere.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day, by the machine's clock, which may be wrong and may be set back.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The time since 1970-01-01T00:00:00Z; zero if the clock shows an earlier time.
pub fn since_epoch() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An instant to measure durations from, for code that runs without tokio.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// A random number, for pauses that must not coincide; never for a secret. `None` if the system gives none.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn jitter() -> Option<u64> {
    getrandom::u64().ok()
}

/// A number to begin a sequence of random numbers with; never for a secret. It comes from the clock if the system gives no
/// randomness.
pub fn seed() -> u64 {
    jitter().unwrap_or_else(|| since_epoch().as_secs().rotate_left(32) ^ u64::from(since_epoch().subsec_nanos()))
}

/// Fills `bytes` with random bytes that nobody can guess.
///
/// # Errors
/// When the system gives none.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}

/// A uniform random number below `most`, to choose a share of calls; not for secrets. It needs no system call.
pub fn draw(most: u16) -> u16 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed() | 1);
    }
    STATE.with(|state| {
        // Xorshift64*: uniform enough to distribute calls.
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
