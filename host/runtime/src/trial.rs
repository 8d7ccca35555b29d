//! The outcomes of the calls of one version, while it is compared with another.
//!
//! They are only counted then; otherwise a call costs one check of a flag.

use super::error::Failure;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of versions that are tried out.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// The most durations of calls that are kept for each of two versions while they are compared; the latest ones are
    /// kept.
    const MAX_DURATIONS: usize = 10_000, "durations";
}

/// How a call of a version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a result, and without an error.
    Good,
    /// With an error of its contract: this is an answer, and usually the caller's mistake.
    Refused,
    /// With a status of 500 or more.
    ServerError,
    /// With a trap, or without an instance.
    Trapped,
    /// Its deadline passed.
    Late,
    /// Its caller gave it up before it had ended.
    Cancelled,
}

/// A call to a version, which counts how it ends if the version is compared with another one. A call that is dropped
/// before its end was given up.
pub(super) struct CountedCall(Option<(Arc<OutcomeCounter>, Instant)>);

impl CountedCall {
    /// Begins a call.
    pub(super) fn begin(counter: &Arc<OutcomeCounter>) -> Self {
        CountedCall(counter.is_on().then(|| (counter.clone(), Instant::now())))
    }

    /// Counts how it ended; `None` does not concern the version. Without a comparison, `outcome` is not called.
    pub(super) fn end(mut self, outcome: impl FnOnce() -> Option<Outcome>) {
        if let Some((counter, start)) = self.0.take()
            && let Some(outcome) = outcome()
        {
            counter.note(outcome, start.elapsed());
        }
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        if let Some((counter, start)) = self.0.take() {
            counter.note(Outcome::Cancelled, start.elapsed());
        }
    }
}

/// Counts the outcomes of calls.
#[derive(Default)]
pub struct OutcomeCounter {
    on: AtomicBool,
    good: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    trapped: AtomicU64,
    late: AtomicU64,
    cancelled: AtomicU64,
    memory: AtomicU64,
    durations: Mutex<Ring>,
    changed: Notify,
}

#[derive(Default)]
struct Ring {
    micros: Vec<u32>,
    next: usize,
    /// How many durations were added since the percentiles were computed.
    added: usize,
    /// The median and the 99th percentile, as they were computed last.
    percentiles: (u32, u32),
}

/// The counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// All calls that have ended.
    pub calls: u64,
    /// Calls that ended with an error of the contract.
    pub refused: u64,
    /// Calls that ended with a status of 500 or more.
    pub errors: u64,
    /// Calls that trapped, or got no instance.
    pub trapped: u64,
    /// Calls whose deadline passed.
    pub late: u64,
    /// Calls that their callers gave up.
    pub cancelled: u64,
    /// How often an instance reached a limit of memory.
    pub memory: u64,
    /// The median duration, in microseconds; 0 without calls.
    pub median_us: u32,
    /// The 99th percentile of the durations, in microseconds.
    pub p99_us: u32,
}

impl Counts {
    /// Calls that failed, without errors of the contract and calls that were given up.
    pub fn failed(&self) -> u64 {
        self.errors + self.trapped + self.late
    }
}

impl OutcomeCounter {
    /// Begins to count from zero.
    pub fn start(&self) {
        let ended = [&self.good, &self.refused, &self.errors, &self.trapped, &self.late, &self.cancelled];
        ended.into_iter().chain([&self.memory]).for_each(|count| count.store(0, Ordering::Relaxed));
        *self.durations.lock() = Ring::default();
        self.on.store(true, Ordering::Release);
    }

    /// Ends counting.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Release);
    }

    /// Whether it counts.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Counts a call that ended after `time`.
    pub(super) fn note(&self, outcome: Outcome, time: Duration) {
        if !self.is_on() {
            return;
        }
        let count = match outcome {
            Outcome::Good => &self.good,
            Outcome::Refused => &self.refused,
            Outcome::ServerError => &self.errors,
            Outcome::Trapped => &self.trapped,
            Outcome::Late => &self.late,
            Outcome::Cancelled => &self.cancelled,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.durations.lock().add(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        self.changed.notify_waiters();
    }

    /// Counts an instance that reached a limit of memory.
    pub(super) fn note_memory(&self) {
        if self.is_on() {
            self.memory.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
    }

    /// Waits until the next call ends.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The current counts.
    pub fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (good, refused, errors) = (load(&self.good), load(&self.refused), load(&self.errors));
        let (trapped, late, cancelled) = (load(&self.trapped), load(&self.late), load(&self.cancelled));
        let (median_us, p99_us) = self.percentiles();
        Counts {
            calls: good + refused + errors + trapped + late + cancelled,
            refused,
            errors,
            trapped,
            late,
            cancelled,
            memory: load(&self.memory),
            median_us,
            p99_us,
        }
    }

    /// The median and the 99th percentile of the durations. A trial asks for them after each call, so they are computed
    /// again only when one duration of 128 is new: with fewer than 128 durations, after each one.
    fn percentiles(&self) -> (u32, u32) {
        let mut durations = {
            let mut ring = self.durations.lock();
            if ring.added <= ring.micros.len() / 128 {
                return ring.percentiles;
            }
            ring.added = 0;
            ring.micros.clone()
        };
        let percentiles = percentiles(&mut durations);
        self.durations.lock().percentiles = percentiles;
        percentiles
    }
}

/// The median and the 99th percentile; 0 without durations. It does not sort them.
fn percentiles(durations: &mut [u32]) -> (u32, u32) {
    let Some(last) = durations.len().checked_sub(1) else { return (0, 0) };
    let (shorter, p99, _) = durations.select_nth_unstable(last * 99 / 100);
    let (median, p99) = (last / 2, *p99);
    // With three durations or fewer both are the same.
    if median < shorter.len() { (*shorter.select_nth_unstable(median).1, p99) } else { (p99, p99) }
}

impl Ring {
    fn add(&mut self, micros: u32) {
        match self.micros.get_mut(self.next) {
            Some(slot) => *slot = micros,
            None => self.micros.push(micros),
        }
        self.next = (self.next + 1) % MAX_DURATIONS;
        self.added += 1;
    }
}

impl Outcome {
    /// The outcome that a failure means for the version; `None` for a failure that does not concern it, such as a call
    /// that was not begun.
    pub(super) fn of_failure(failure: Failure) -> Option<Self> {
        match failure {
            Failure::Trapped | Failure::Instantiation | Failure::NotExported => Some(Outcome::Trapped),
            Failure::Deadline => Some(Outcome::Late),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_before_the_start_and_then_from_zero() {
        let tally = OutcomeCounter::default();
        tally.note(Outcome::Trapped, Duration::from_millis(1));
        assert_eq!(tally.counts(), Counts::default());
        tally.start();
        tally.note(Outcome::Trapped, Duration::from_millis(1));
        tally.start();
        for ms in 1..=100 {
            tally.note(if ms == 7 { Outcome::ServerError } else { Outcome::Good }, Duration::from_millis(ms));
        }
        let counts = tally.counts();
        assert_eq!((counts.calls, counts.failed(), counts.trapped), (100, 1, 0));
        assert_eq!((counts.median_us, counts.p99_us), (50_000, 99_000));
    }

    #[test]
    fn a_call_that_was_given_up_is_a_call_that_has_not_failed() {
        let tally = OutcomeCounter::default();
        tally.start();
        tally.note(Outcome::Good, Duration::from_millis(1));
        tally.note(Outcome::Cancelled, Duration::from_millis(9));
        let counts = tally.counts();
        assert_eq!((counts.calls, counts.cancelled, counts.failed(), counts.p99_us), (2, 1, 0, 1_000));
        tally.start();
        assert_eq!(tally.counts(), Counts::default());
    }

    #[test]
    fn the_latest_durations_are_kept() {
        let tally = OutcomeCounter::default();
        tally.start();
        (0..MAX_DURATIONS).for_each(|_| tally.note(Outcome::Good, Duration::from_micros(1)));
        (0..MAX_DURATIONS).for_each(|_| tally.note(Outcome::Good, Duration::from_micros(2)));
        assert_eq!(tally.counts().median_us, 2);
        assert_eq!(tally.durations.lock().micros.len(), MAX_DURATIONS);
    }

    #[test]
    fn percentiles_are_those_of_sorted_durations() {
        for count in 1..=300_u32 {
            let mut durations: Vec<u32> = (0..count).map(|n| n.wrapping_mul(2_654_435_761) % 1_000).collect();
            let found = percentiles(&mut durations.clone());
            durations.sort_unstable();
            let last = durations.len() - 1;
            assert_eq!(found, (durations[last * 50 / 100], durations[last * 99 / 100]), "{count}");
        }
        assert_eq!(percentiles(&mut []), (0, 0));
    }

    #[test]
    fn the_percentiles_of_many_durations_are_not_computed_again_for_each_call() {
        let tally = OutcomeCounter::default();
        tally.start();
        let mut computed = 0;
        for n in 0..20_000 {
            tally.note(Outcome::Good, Duration::from_micros(n));
            tally.counts();
            computed += u32::from(tally.durations.lock().added == 0);
        }
        // The first 128 after each call; at the end one of 79.
        assert!((128..1_500).contains(&computed), "{computed}");
        assert_eq!(tally.counts().calls, 20_000);
    }
}
