//! Which due times of a schedule are called now: a pure function of the last call and of the time.

use souk_manifest::{Missed, Timetable};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of what was missed.
    pub(crate) const FIXED_LIMITS = "schedules";

    /// A due time that is older than this counts as missed, and the manifest's `missed` decides about it.
    const MISSED_AFTER: Duration = Duration::from_secs(60);
    /// The most missed due times of one schedule that `missed = "all"` calls: the latest ones.
    const MAX_CAUGHT_UP: usize = 1000, "due times";
}

/// The calls to make.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The due times to call, oldest first.
    pub(super) fire: Vec<i64>,
    /// The newest due time that has passed since the last call, whether or not it is called.
    pub(super) newest: Option<i64>,
    /// Whether due times are left out.
    pub(super) skipped: bool,
}

/// The calls to make `now`, when all due times up to `fired` were called or left out.
pub(super) fn plan(timetable: &Timetable, missed: Missed, fired: i64, now: i64) -> Plan {
    let mut plan = Plan::default();
    let oldest = now.saturating_sub(crate::durable::millis(MISSED_AFTER));
    let (mut at, mut caught_up) = (now.saturating_add(1), 0);
    while let Some(due) = timetable.before(at).filter(|due| *due > fired) {
        plan.newest = plan.newest.or(Some(due));
        let called = due >= oldest
            || match missed {
                Missed::Skip => false,
                Missed::Last => plan.fire.is_empty(),
                Missed::All => caught_up < MAX_CAUGHT_UP,
            };
        if !called {
            plan.skipped = true;
            break;
        }
        caught_up += usize::from(due < oldest);
        plan.fire.push(due);
        at = due;
    }
    plan.fire.reverse();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn hourly() -> Timetable {
        Timetable::Every(Duration::from_secs(3600))
    }

    fn planned(missed: Missed, fired: i64, now: i64) -> (Vec<i64>, Option<i64>, bool) {
        let Plan { fire, newest, skipped } = plan(&hourly(), missed, fired, now);
        (fire.into_iter().map(|due| due / HOUR).collect(), newest.map(|due| due / HOUR), skipped)
    }

    #[test]
    fn what_is_due_is_called_once() {
        for missed in [Missed::Skip, Missed::Last, Missed::All] {
            assert_eq!(planned(missed, 7 * HOUR, 8 * HOUR), (vec![8], Some(8), false));
            assert_eq!(planned(missed, 7 * HOUR, 8 * HOUR + 60_000), (vec![8], Some(8), false));
            assert_eq!(planned(missed, 8 * HOUR, 8 * HOUR + 60_000), (vec![], None, false));
            // A clock that was set back.
            assert_eq!(planned(missed, 9 * HOUR, 8 * HOUR), (vec![], None, false));
        }
    }

    #[test]
    fn what_was_missed_is_left_out_or_called_once_or_caught_up_as_the_manifest_says() {
        let (fired, late) = (7 * HOUR, 10 * HOUR + HOUR / 2);
        assert_eq!(planned(Missed::Skip, fired, late), (vec![], Some(10), true));
        assert_eq!(planned(Missed::Last, fired, late), (vec![10], Some(10), true));
        assert_eq!(planned(Missed::All, fired, late), (vec![8, 9, 10], Some(10), false));
        // One of them is due just now.
        assert_eq!(planned(Missed::Skip, fired, 10 * HOUR), (vec![10], Some(10), true));
        assert_eq!(planned(Missed::Last, fired, 10 * HOUR), (vec![10], Some(10), true));
        assert_eq!(planned(Missed::All, fired, 10 * HOUR), (vec![8, 9, 10], Some(10), false));
    }

    #[test]
    fn only_the_latest_of_very_many_missed_times_are_caught_up() {
        let (fire, newest, skipped) = planned(Missed::All, 0, 100_000 * HOUR + HOUR / 2);
        assert_eq!((fire.len(), fire.first(), newest, skipped), (MAX_CAUGHT_UP, Some(&99_001), Some(100_000), true));
    }

    proptest! {
        /// However often a host looks, each due time is called for once while none is missed.
        #[test]
        fn looks_at_any_times_call_for_each_due_time_once(looks in prop::collection::vec(1_i64..60_000, 1..200)) {
            let timetable = Timetable::Every(Duration::from_secs(7));
            let (mut now, mut fired, mut called) = (1_800_000_000_000_i64, 1_800_000_000_000_i64, Vec::new());
            for look in looks {
                now += look;
                let plan = plan(&timetable, Missed::Skip, fired, now);
                prop_assert!(!plan.skipped);
                fired = plan.newest.unwrap_or(fired);
                called.extend(plan.fire);
            }
            let mut all = Vec::new();
            let mut due = timetable.after(1_800_000_000_000).unwrap();
            while due <= now {
                all.push(due);
                due = timetable.after(due).unwrap();
            }
            prop_assert_eq!(called, all);
        }
    }
}
