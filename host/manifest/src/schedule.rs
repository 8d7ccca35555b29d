//! `[[component.NAME.tool.souk.schedule]]`: functions of a component that the host calls at certain times.
//!
//! Due times are UTC, so that they are the same on all hosts of an application, and no change to summer time repeats or
//! skips one. A [`Timetable`] is a pure function of time: it gives the next due time after a moment, and the last one
//! before it. Intervals count from 1970 and not from the start of a host, so that hosts agree and a restart changes
//! nothing.

use super::Component;
use super::names::{DependencyName, check_component};
use super::table::{At, Table};
use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::fmt;
use std::time::Duration;

crate::fixed_limits! {
    /// The fixed limits of schedules.
    pub const FIXED_LIMITS = "schedules";

    /// The most schedules of one component.
    pub const MAX_SCHEDULES: usize = 1024, "schedules";
    /// The shortest interval between two due times of a schedule.
    pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
    /// The longest interval of `every`, and the longest delay of a durable link.
    pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
}

/// The fix for a wrong function name.
const CALL_FIX: &str =
    "write `call = \"namespace:package/interface@version#function\"`, a function that the component exports";
/// The fix for a wrong timetable.
const WHEN_FIX: &str = "write `cron = \"0 3 * * *\"` (minute, hour, day, month, weekday; UTC) or `every = \"5m\"`";

/// When a component's function is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name, which no other schedule of the component has.
    pub name: String,
    /// The interface of the function; never a whole package.
    pub interface: DependencyName,
    /// The function.
    pub function: String,
    /// When it is due.
    pub timetable: Timetable,
    /// What happens to due times at which no host ran.
    pub missed: Missed,
    /// Its line in the manifest.
    pub line: usize,
}

impl Schedule {
    /// The unique name of the schedule in the application: several components may have a schedule of the same name.
    pub fn id(&self, component: &str) -> String {
        format!("{component}/{}", self.name)
    }
}

/// What happens to due times at which no host ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing is called.
    Skip,
    /// The function is called once, for the last of them.
    Last,
    /// It is called for each of them.
    All,
}

/// The due times of a schedule, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub enum Timetable {
    /// The times of a cron pattern.
    Cron(Box<Cron>),
    /// The multiples of an interval.
    Every(Duration),
}

impl Timetable {
    /// Reads a cron pattern of five fields, or of six with seconds first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn cron(pattern: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        parser.parse(pattern).map(|cron| Timetable::Cron(Box::new(cron))).map_err(|error| error.to_string())
    }

    /// The first due time after `time`; `None` when there is none in the years that the cron library supports.
    pub fn after(&self, time: i64) -> Option<i64> {
        match self {
            Timetable::Cron(cron) => {
                // Due times are whole seconds.
                let time = DateTime::<Utc>::from_timestamp(time.div_euclid(1000), 0)?;
                cron.find_next_occurrence(&time, false).ok().map(|due| due.timestamp_millis())
            }
            Timetable::Every(interval) => {
                let interval = millis(*interval)?;
                time.div_euclid(interval).checked_add(1)?.checked_mul(interval)
            }
        }
    }

    /// The last due time before `time`.
    pub fn before(&self, time: i64) -> Option<i64> {
        match self {
            Timetable::Cron(cron) => {
                let time = DateTime::<Utc>::from_timestamp(time.checked_add(999)?.div_euclid(1000), 0)?;
                cron.find_previous_occurrence(&time, false).ok().map(|due| due.timestamp_millis())
            }
            Timetable::Every(interval) => {
                let interval = millis(*interval)?;
                time.checked_sub(1)?.div_euclid(interval).checked_mul(interval)
            }
        }
    }
}

/// The interval in milliseconds; at least 1, because it is used as a divisor.
fn millis(interval: Duration) -> Option<i64> {
    i64::try_from(interval.as_millis()).ok().filter(|millis| *millis > 0)
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timetable::Cron(cron) => write!(f, "cron {}", cron.pattern),
            Timetable::Every(interval) => write!(f, "every {}", humantime::format_duration(*interval)),
        }
    }
}

/// Reads the schedules of `component`.
pub(super) fn read(souk: &mut Table<'_, '_>, component: &mut Component) {
    for table in souk.tables("schedule") {
        let Some(schedule) = read_one(table) else { continue };
        if let Some(other) = component.schedules.iter().find(|other| other.name == schedule.name) {
            let message = format!("the schedule `{}` is in line {} too", schedule.name, other.line);
            souk.error(schedule.line, message, "give each schedule of the component a name of its own");
        } else if component.schedules.len() == MAX_SCHEDULES {
            let message = format!("more than {MAX_SCHEDULES} schedules");
            souk.error(schedule.line, message, "let one schedule do more, or split them among components");
            return;
        } else {
            component.schedules.push(schedule);
        }
    }
}

fn read_one(mut table: Table<'_, '_>) -> Option<Schedule> {
    let name = table.required_string("name", "write `name = \"clean-up\"`");
    let name = name.filter(|name| match check_component(&name.value) {
        Ok(()) => true,
        Err(error) => {
            let message = format!("`{}` cannot be a schedule's name: {error}", name.value);
            table.error(name.line, message, "name it in kebab-case: `clean-up`");
            false
        }
    });
    let call = table.required_string("call", CALL_FIX).and_then(|call| read_call(&table, &call));
    let (cron, every) = (table.string("cron"), table.string("every"));
    let timetable = read_timetable(&table, cron, every);
    let missed = match table.string("missed") {
        None => Some(Missed::Skip),
        Some(missed) => match missed.value.as_str() {
            "skip" => Some(Missed::Skip),
            "last" => Some(Missed::Last),
            "all" => Some(Missed::All),
            other => {
                let message = format!("`missed` must be \"skip\", \"last\" or \"all\", but is \"{other}\"");
                table.error(missed.line, message, "write `missed = \"last\"` to call it once for all that was missed");
                None
            }
        },
    };
    let line = table.line;
    table.finish();
    let (interface, function) = call?;
    Some(Schedule { name: name?.value, interface, function, timetable: timetable?, missed: missed?, line })
}

fn read_call(table: &Table<'_, '_>, call: &At<String>) -> Option<(DependencyName, String)> {
    let (interface, function) = call.value.split_once('#').unwrap_or((&call.value, ""));
    let wrong = match DependencyName::parse(interface) {
        Ok(DependencyName { interface: None, .. }) => "it names no interface".to_owned(),
        Ok(_) if function.is_empty() => "it names no function".to_owned(),
        Ok(interface) => return Some((interface, function.to_owned())),
        Err(error) => error,
    };
    table.error(call.line, format!("`{}` in `call` is not the name of a function: {wrong}", call.value), CALL_FIX);
    None
}

fn read_timetable(table: &Table<'_, '_>, cron: Option<At<String>>, every: Option<At<String>>) -> Option<Timetable> {
    match (cron, every) {
        (Some(cron), None) => match Timetable::cron(&cron.value) {
            Ok(timetable) => Some(timetable),
            Err(error) => {
                table.error(cron.line, format!("`{}` is not a cron pattern: {error}", cron.value), WHEN_FIX);
                None
            }
        },
        (None, Some(every)) => read_duration(table, "every", &every).map(Timetable::Every),
        (Some(_), Some(every)) => {
            table.error(every.line, format!("{} has both `cron` and `every`", table.place), "keep one of the two");
            None
        }
        (None, None) => {
            table.error(table.line, format!("{} has neither `cron` nor `every`", table.place), WHEN_FIX);
            None
        }
    }
}

/// Reads a duration of whole seconds between [`MIN_INTERVAL`] and [`MAX_DELAY`].
pub(super) fn read_duration(table: &Table<'_, '_>, key: &str, text: &At<String>) -> Option<Duration> {
    let wrong = match humantime::parse_duration(&text.value) {
        Ok(duration) if duration < MIN_INTERVAL || duration > MAX_DELAY => "is not between 1s and 366days",
        Ok(duration) if duration.subsec_nanos() != 0 => "is not a whole number of seconds",
        Ok(duration) => return Some(duration),
        Err(_) => "is not a duration with its unit",
    };
    table.error(text.line, format!("`{key}` {wrong}: \"{}\"", text.value), format!("write `{key} = \"30m\"`"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn a_pattern_of_five_fields_is_of_minutes_and_one_of_six_of_seconds_and_both_are_utc() {
        let daily = Timetable::cron("30 3 * * *").unwrap();
        assert_eq!(daily.after(time("2026-03-29T03:30:00Z")), Some(time("2026-03-30T03:30:00Z")));
        assert_eq!(daily.before(time("2026-03-29T03:30:00Z")), Some(time("2026-03-28T03:30:00Z")));
        let often = Timetable::cron("*/10 * * * * *").unwrap();
        assert_eq!(often.after(time("2026-01-01T00:00:01.5Z")), Some(time("2026-01-01T00:00:10Z")));
        assert_eq!(often.before(time("2026-01-01T00:00:10.5Z")), Some(time("2026-01-01T00:00:10Z")));
        for wrong in ["", "* * * *", "61 * * * *", "* * * * * * 2030"] {
            assert!(Timetable::cron(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_due_times_of_an_interval_are_its_multiples(seconds in 1_u64..1_000_000, at in 0_i64..4_000_000_000_000) {
            let every = Timetable::Every(Duration::from_secs(seconds));
            let interval = i64::try_from(seconds).unwrap() * 1000;
            let (before, after) = (every.before(at).unwrap(), every.after(at).unwrap());
            prop_assert!(before < at && at < after);
            prop_assert_eq!((before % interval, after % interval), (0, 0));
            prop_assert!(after - before == interval || (at % interval == 0 && after - before == 2 * interval));
        }

        #[test]
        fn before_and_after_of_a_pattern_are_neighbours(at in 1_700_000_000_000_i64..1_900_000_000_000) {
            let cron = Timetable::cron("*/7 5,17 * * *").unwrap();
            let (before, after) = (cron.before(at).unwrap(), cron.after(at).unwrap());
            prop_assert!(before < at && at < after);
            prop_assert_eq!(cron.before(after).unwrap().max(at), at.max(before));
        }
    }
}
