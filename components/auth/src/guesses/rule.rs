//! How long a guesser has to wait: a pure function of the number of failed attempts and the time of the last one, so
//! that tests can check its guarantees. Failed attempts are forgotten one by one; a forgotten attempt can be made again
//! without a wait.

use serde::{Deserialize, Serialize};

/// The longest wait.
const MAX_WAIT_SECONDS: u64 = 900;

/// The limits of one counter.
#[derive(Debug)]
pub(crate) struct Rule {
    /// After how many failed attempts the next one has to wait.
    pub free: u32,
    /// After how many seconds without an attempt one failed attempt is forgotten.
    pub forget_seconds: u64,
}

/// One source, for all accounts together: high enough for the many people behind one address.
pub(crate) const SOURCE: Rule = Rule { free: 100, forget_seconds: 60 };
/// One account, for all sources together that have not logged in to it lately.
pub(crate) const STRANGERS: Rule = Rule { free: 10, forget_seconds: 60 };
/// One account and one source that has logged in to it: high enough for people who mistype and for programs that log in
/// many times at once.
pub(crate) const KNOWN: Rule = Rule { free: 64, forget_seconds: 600 };

/// The failed attempts that are not forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counter {
    /// How many there were at the last one.
    pub wrong: u32,
    /// When that was, in seconds since 1970.
    pub at: u64,
}

impl Counter {
    /// How many seconds the next attempt has to wait at `now`: none while fewer than [`Rule::free`] have failed, then
    /// 1, and twice as long after each further failed attempt, up to [`MAX_WAIT_SECONDS`].
    pub(crate) fn wait(self, rule: &Rule, now: u64) -> u64 {
        let doublings = match self.wrong.checked_sub(rule.free) {
            None => return 0,
            Some(beyond) => beyond.min(63),
        };
        let wait = (1_u64 << doublings).min(MAX_WAIT_SECONDS);
        // Another host's clock may be ahead.
        (self.at.min(now) + wait).saturating_sub(now)
    }

    /// The counter after one more attempt, which counts as failed until it is taken back.
    pub(crate) fn tried(self, rule: &Rule, now: u64) -> Self {
        let forgotten = now.saturating_sub(self.at) / rule.forget_seconds;
        let wrong = self.wrong.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        Counter { wrong: wrong.saturating_add(1), at: now }
    }

    /// The counter when its last attempt has not failed.
    pub(crate) fn taken_back(self) -> Self {
        Counter { wrong: self.wrong.saturating_sub(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_KNOWN;
    use super::*;
    use proptest::prelude::*;

    const TWO_DAYS: u64 = 2 * 24 * 3600;

    /// How many attempts the rule admits within `seconds` when a guesser tries as soon as it may plus a pause; the
    /// pauses come from `patience`, in turn.
    fn admitted(rule: &Rule, seconds: u64, patience: &[u64]) -> u64 {
        let (mut counter, mut now, mut tries) = (Counter::default(), 1_700_000_000, 0);
        let end = now + seconds;
        let mut patience = patience.iter().cycle();
        while now < end {
            assert_eq!(counter.wait(rule, now), 0);
            counter = counter.tried(rule, now);
            tries += 1;
            now += counter.wait(rule, now) + patience.next().unwrap_or(&0);
        }
        tries
    }

    proptest! {
        #[test]
        fn ten_thousand_wrong_passwords_for_one_account_take_more_than_two_days(
            patience in proptest::collection::vec(prop_oneof![Just(0_u64), 0..2_u64, 50..70_u64, 0..2000_u64], 1..20),
        ) {
            // For any number of sources: new ones share one counter, and at most `MAX_KNOWN` are known.
            let strangers = admitted(&STRANGERS, TWO_DAYS, &patience);
            let known = admitted(&KNOWN, TWO_DAYS, &patience) * MAX_KNOWN as u64;
            prop_assert!(strangers + known < 10_000, "{strangers} of strangers, {known} of known sources");
        }

        #[test]
        fn a_wait_is_exact_and_bounded(wrong in 0..200_u32, at in 0..10_000_u64, now in 0..10_000_u64) {
            let counter = Counter { wrong, at };
            for rule in [&SOURCE, &STRANGERS, &KNOWN] {
                let wait = counter.wait(rule, now);
                prop_assert!(wait <= MAX_WAIT_SECONDS);
                // The attempt is admitted exactly when the wait ends. (By then a clock that was ahead has been caught
                // up with, hence `since`.)
                let since = Counter { at: at.min(now), ..counter };
                prop_assert_eq!(since.wait(rule, now + wait), 0);
                prop_assert!(wait == 0 || since.wait(rule, now + wait - 1) == 1);
            }
        }
    }

    #[test]
    fn the_first_tries_are_free_and_each_further_one_waits_twice_as_long() {
        let mut counter = Counter::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            counter = counter.tried(&STRANGERS, 5000);
            waits.push(counter.wait(&STRANGERS, 5000));
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(Counter { wrong: u32::MAX, at: 5000 }.wait(&STRANGERS, 5000), MAX_WAIT_SECONDS);
    }

    #[test]
    fn tries_are_forgotten_one_by_one_and_a_right_one_does_not_count() {
        let counter = Counter { wrong: 12, at: 1000 };
        assert_eq!(counter.tried(&STRANGERS, 1000 + 59), Counter { wrong: 13, at: 1059 });
        assert_eq!(counter.tried(&STRANGERS, 1000 + 180), Counter { wrong: 10, at: 1180 });
        assert_eq!(counter.tried(&STRANGERS, 1 << 40).wrong, 1);
        assert_eq!(counter.tried(&STRANGERS, 1000).taken_back(), counter);
    }
}
