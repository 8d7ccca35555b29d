//! Decides whether a version on trial may stay, from the results of calls alone.
//!
//! Traps, memory limits and failures count from the first call. A contract's errors are answers, and mostly the
//! caller's mistake; so they are compared with the old version's at the same time, once each has [`MIN_REFUSED`] calls;
//! so are calls that their callers gave up, because a client goes away for reasons of its own.
//! Slowness is compared in the same way: by the median from [`MIN_MEDIAN`] calls on, and by the 99th percentile from
//! [`MIN_P99`] calls on.

use souk_runtime::Counts;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of trials.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How many calls each version needs before the errors of contracts, and calls that were given up, are compared.
    const MIN_REFUSED: u64 = 20, "calls";
    /// How many calls each version needs before their medians are compared, and before the new one may serve all calls.
    const MIN_MEDIAN: u64 = 50, "calls";
    /// How many calls each version needs before their 99th percentiles are compared.
    const MIN_P99: u64 = 1_000, "calls";
}

/// The terms of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// How many of [`DRAWS`](souk_bindings::call::DRAWS) draws go to the new version.
    pub share: u16,
    /// How long the trial takes.
    pub time: Duration,
    /// The share of its calls that may fail, or may fail more often than the old version's.
    pub max_errors: f64,
    /// How many times as long as the old version's its calls may take.
    pub max_slowdown: f64,
}

/// The decision on a version.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The trial continues.
    Wait,
    /// The time is over, but there were too few calls to decide: the trial continues.
    TooFew,
    /// It serves all calls from now on.
    Promote,
    /// It is rolled back, for this reason.
    RollBack(String),
}

fn rate(part: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { part as f64 / calls as f64 }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

/// Decides on `new`, compared with `old`, after `elapsed`.
pub(super) fn judge(terms: &Terms, elapsed: Duration, old: &Counts, new: &Counts) -> Verdict {
    if let Some(why) = fault(terms, old, new) {
        return Verdict::RollBack(why);
    }
    // A version that was compared with nothing was not tried out, however many calls it had.
    match (elapsed >= terms.time, new.calls.min(old.calls) >= MIN_MEDIAN) {
        (false, _) => Verdict::Wait,
        (true, false) => Verdict::TooFew,
        (true, true) => Verdict::Promote,
    }
}

fn fault(terms: &Terms, old: &Counts, new: &Counts) -> Option<String> {
    let more = |of_new: u64, of_old: u64| rate(of_new, new.calls.max(1)) > rate(of_old, old.calls.max(1));
    let calls = new.calls;
    // First, because it causes the trap that follows.
    if new.memory > 0 && more(new.memory, old.memory) {
        return Some(format!("it reached its limit `memory` {} times in {calls} calls", new.memory));
    }
    if new.trapped > 0 && more(new.trapped, old.trapped) {
        let (of_new, of_old) = (new.trapped, old.trapped);
        return Some(format!(
            "{of_new} of {calls} calls trapped; of the old version's {} calls {of_old} did",
            old.calls
        ));
    }
    let (failed, failed_before) = (rate(new.failed(), calls), rate(old.failed(), old.calls));
    if failed > terms.max_errors && failed > failed_before {
        let (most, before) = (percent(terms.max_errors), percent(failed_before));
        let (of_new, failed) = (new.failed(), percent(failed));
        return Some(format!(
            "{of_new} of {calls} calls failed ({failed}); {most} may fail, and of the old version's calls {before} did"
        ));
    }
    let both = |least: u64| new.calls >= least && old.calls >= least;
    if both(MIN_REFUSED) {
        for (of_new, of_old, what) in [
            (new.refused, old.refused, "answered with an error"),
            (new.cancelled, old.cancelled, "given up by their callers"),
        ] {
            let (share, before) = (rate(of_new, calls), rate(of_old, old.calls));
            // Three standard deviations: with few calls, a few more than before are chance.
            let usual = before.clamp(0.01, 0.99);
            let chance = 3.0 * (usual * (1.0 - usual) / calls as f64).sqrt();
            if share > before + terms.max_errors.max(chance) {
                let (share, before) = (percent(share), percent(before));
                return Some(format!("{share} of {calls} calls were {what}, of the old version's calls {before}"));
            }
        }
    }
    for (least, what, of_new, of_old) in
        [(MIN_MEDIAN, "half", new.median_us, old.median_us), (MIN_P99, "one of a hundred", new.p99_us, old.p99_us)]
    {
        if both(least) && f64::from(of_new) > f64::from(of_old) * terms.max_slowdown {
            return Some(format!(
                "{what} of {calls} calls took {of_new} us or more, and of the old version's {of_old} us; at most {} times \
                 as long is allowed",
                terms.max_slowdown
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { share: 500, time: Duration::from_secs(60), max_errors: 0.01, max_slowdown: 2.0 };

    fn counts(calls: u64) -> Counts {
        Counts { calls, median_us: 100, p99_us: 1_000, ..Counts::default() }
    }

    fn verdict(elapsed: u64, old: Counts, new: Counts) -> Verdict {
        judge(&TERMS, Duration::from_secs(elapsed), &old, &new)
    }

    fn rolls_back(old: Counts, new: Counts, why: &str) {
        let Verdict::RollBack(said) = verdict(1, old, new) else { panic!("no roll-back for {why}") };
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn a_good_version_serves_all_when_its_time_is_over_and_enough_calls_of_both_came() {
        assert_eq!(verdict(59, counts(900), counts(60)), Verdict::Wait);
        assert_eq!(verdict(60, counts(900), counts(49)), Verdict::TooFew);
        assert_eq!(verdict(60, counts(900), counts(50)), Verdict::Promote);
        // Nothing was compared yet.
        for old in [0, 1, 49] {
            assert_eq!(verdict(60, counts(old), Counts { median_us: 9_000, ..counts(900) }), Verdict::TooFew, "{old}");
        }
        assert_eq!(verdict(60, counts(50), counts(900)), Verdict::Promote);
        // Errors as frequent as before are no reason to roll back.
        let bad = |calls| Counts { refused: calls / 3, errors: calls / 50, trapped: calls / 100, ..counts(calls) };
        assert_eq!(verdict(60, bad(10_000), bad(1_000)), Verdict::Promote);
    }

    #[test]
    fn traps_failures_and_memory_count_from_the_first_call() {
        rolls_back(counts(0), Counts { trapped: 1, ..counts(1) }, "trapped");
        rolls_back(counts(10), Counts { errors: 1, ..counts(1) }, "failed");
        rolls_back(counts(10), Counts { late: 1, ..counts(99) }, "failed");
        rolls_back(counts(10), Counts { memory: 1, ..counts(10) }, "memory");
        assert_eq!(verdict(1, counts(10), Counts { late: 1, ..counts(100) }), Verdict::Wait);
    }

    #[test]
    fn errors_of_a_contract_and_slowness_are_compared_once_there_are_enough_calls() {
        assert_eq!(verdict(1, counts(100), Counts { refused: 10, ..counts(19) }), Verdict::Wait);
        rolls_back(counts(100), Counts { refused: 10, ..counts(20) }, "answered with an error");
        assert_eq!(
            verdict(1, Counts { refused: 30, ..counts(100) }, Counts { refused: 9, ..counts(20) }),
            Verdict::Wait
        );
        assert_eq!(verdict(1, counts(100), Counts { cancelled: 19, ..counts(19) }), Verdict::Wait);
        rolls_back(counts(100), Counts { cancelled: 10, ..counts(20) }, "50.0 % of 20 calls were given up");
        let given_up = |calls| Counts { cancelled: calls / 2, ..counts(calls) };
        assert_eq!(verdict(1, given_up(100), given_up(100)), Verdict::Wait);
        assert_eq!(verdict(1, counts(100), Counts { median_us: 400, ..counts(49) }), Verdict::Wait);
        rolls_back(counts(100), Counts { median_us: 400, ..counts(50) }, "half of 50 calls took 400 us");
        assert_eq!(verdict(1, counts(2_000), Counts { p99_us: 9_000, ..counts(999) }), Verdict::Wait);
        rolls_back(counts(2_000), Counts { p99_us: 9_000, ..counts(1_000) }, "one of a hundred");
    }
}
