//! Clocks and random numbers of a call that is recorded or replayed.
//!
//! The values of clocks are recorded. Random numbers are not: they come from a cryptographic generator whose seed is
//! recorded.

use super::{ClockKind, Tape};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

struct Clock {
    tape: Arc<Tape>,
    /// The zero of the monotonic clock.
    start: std::time::Instant,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::new(0, 1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.tape.read(ClockKind::Wall, || nanoseconds(souk_manifest::clock::since_epoch())))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.tape.read(ClockKind::Monotonic, || nanoseconds(self.start.elapsed()))
    }
}

/// Gives `wasi` the clocks and random numbers of `tape`.
pub(crate) fn set_clocks(wasi: &mut WasiCtxBuilder, tape: &Arc<Tape>) {
    let start = souk_manifest::clock::instant();
    let mut insecure = tape.seed;
    insecure.reverse();
    let (low, _) = tape.seed.split_at(16);
    let number = low.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    wasi.wall_clock(Clock { tape: tape.clone(), start })
        .monotonic_clock(Clock { tape: tape.clone(), start })
        .secure_random(StdRng::from_seed(tape.seed))
        .insecure_random(StdRng::from_seed(insecure))
        .insecure_random_seed(number.rotate_left(64) ^ u128::from(u64::MAX));
}
