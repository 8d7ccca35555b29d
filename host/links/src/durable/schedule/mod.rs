//! Schedules: functions that the host calls at certain times, by durable messages.
//!
//! Every host that runs a scheduled component watches the clock and makes the calls; a [cursor](cursors) that they swap, and
//! an id that is made of schedule and due time, see to it that each call is stored once. What happens then is what happens to every
//! durable message: it is delivered until the function has accepted or rejected it, and `souk events` shows it. So a
//! function may see a call twice, as with every durable link, and knows it by its id.
//!
//! What was missed, because no host ran or none could store messages, is left out, called once or called for
//! each ([`plan`]), as the manifest says.
//!
//! **Clocks.** Due times are UTC by the host's clock. A host whose clock differs from the servers' by more than
//! [`MAX_CLOCK_SKEW`] makes no calls, and says so: it would make them at wrong times, and the others would find them made.

mod cursors;
mod plan;
mod scheduled;

#[cfg(test)]
mod tests;

pub(super) use cursors::Cursor;
pub use scheduled::{ScheduleError, Scheduled};

use super::log_throttle::LogThrottle;
use super::queue::{Queue, QueueError};
use super::{millis, now};
use cursors::{Cursors, Fired};
use futures::StreamExt as _;
use souk_manifest::limits::FixedLimit;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of schedules.
    pub(crate) const FIXED_LIMITS = "schedules";

    /// How far a host's clock may be from that of the NATS servers; a host that is further off makes no calls.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);
    /// How often a host compares its clock with that of the NATS servers.
    const CLOCK_INTERVAL: Duration = Duration::from_secs(60);
    /// The longest that a host sleeps before it looks what is due: its clock may be set meanwhile.
    const MAX_SLEEP: Duration = Duration::from_secs(30);
    /// The pause after a call could not be made.
    const RETRY_INTERVAL: Duration = Duration::from_secs(1);
    /// The most schedules whose calls are made at one time.
    const MAX_CONCURRENT: usize = 16, "schedules";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, plan::FIXED_LIMITS].concat()
}

/// Calls what is due of `schedules`, until `stop`.
pub(super) async fn run(queue: Queue, schedules: Vec<Arc<Scheduled>>, stop: CancellationToken) {
    let mut clock = Clockwork {
        queue,
        cursors: None,
        looked: schedules.into_iter().map(|scheduled| Looked { scheduled, next: Some(0), known: false }).collect(),
        compared: None,
        log_throttle: LogThrottle::default(),
    };
    loop {
        let pause = match clock.turn().await {
            Ok(pause) => pause,
            Err(error) => {
                clock.log_throttle.failed(|_| tracing::error!("schedules wait: {error}; fix: {}", error.fix()));
                RETRY_INTERVAL
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// The schedules of a host, and when it looks at each.
struct Clockwork {
    queue: Queue,
    cursors: Option<Cursors>,
    looked: Vec<Looked>,
    /// When this host's clock was right last.
    compared: Option<Instant>,
    log_throttle: LogThrottle,
}

/// A schedule that is looked at again at `next`, if at all.
struct Looked {
    scheduled: Arc<Scheduled>,
    next: Option<i64>,
    /// Whether this host has looked before.
    known: bool,
}

impl Clockwork {
    /// Makes the calls that are due; returns how long to sleep then.
    async fn turn(&mut self) -> Result<Duration, QueueError> {
        if self.cursors.is_none() {
            self.cursors = Some(Cursors::open(&self.queue).await?);
        }
        let Some(cursors) = &self.cursors else { return Ok(RETRY_INTERVAL) };
        if self.compared.is_none_or(|compared| compared.elapsed() >= CLOCK_INTERVAL) {
            let offset = cursors.clock_offset().await?;
            if offset.saturating_abs() > millis(MAX_CLOCK_SKEW) {
                self.compared = None;
                return Err(QueueError::Clock(offset));
            }
            self.compared = Some(Instant::now());
        }
        let now = now();
        let mut due: Vec<(usize, bool, Arc<Scheduled>)> = self
            .looked
            .iter()
            .enumerate()
            .filter(|(_, looked)| looked.next.is_some_and(|next| next <= now))
            .map(|(at, looked)| (at, looked.known, looked.scheduled.clone()))
            .collect();
        // Hosts begin at different ones, so that they seldom make the same call at one moment.
        let random = souk_manifest::clock::jitter().and_then(|random| usize::try_from(random % (1 << 31)).ok());
        let begin = random.unwrap_or(0).checked_rem(due.len()).unwrap_or(0);
        due.rotate_left(begin);
        let looks = due
            .into_iter()
            .map(|(at, known, scheduled)| async move { (at, look(cursors, &scheduled, known, now).await) });
        let looks: Vec<_> = futures::stream::iter(looks).buffer_unordered(MAX_CONCURRENT).collect().await;
        let mut failed = None;
        for (at, next) in looks {
            let Some(looked) = self.looked.get_mut(at) else { continue };
            match next {
                Ok(next) => (looked.next, looked.known) = (next, true),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.log_throttle.recovered(|| tracing::info!("schedules go on"));
        let next = self.looked.iter().filter_map(|looked| looked.next).min();
        let pause = next.map(|next| u64::try_from(next.saturating_sub(super::now())).unwrap_or(0));
        Ok(pause.map_or(MAX_SLEEP, Duration::from_millis).min(MAX_SLEEP))
    }
}

/// Makes the calls of one schedule that are due; returns when it is due next.
async fn look(cursors: &Cursors, scheduled: &Scheduled, known: bool, now: i64) -> Result<Option<i64>, QueueError> {
    let (schedule, component) = (&scheduled.schedule, scheduled.component());
    let next = |fired: i64| schedule.timetable.after(fired.max(now));
    let mut cursor = match cursors.read(scheduled).await? {
        // What was due under another timetable, or before there was one, was not missed.
        Some(cursor) if known || cursor.timetable == schedule.timetable.to_string() => cursor,
        other => {
            let fired = other.as_ref().map_or(now, |cursor| cursor.fired.max(now));
            return Ok(cursors
                .swap(scheduled, other.as_ref(), fired)
                .await?
                .map_or(Some(now), |cursor| next(cursor.fired)));
        }
    };
    if cursor.fired.saturating_sub(now) > millis(MAX_CLOCK_SKEW) {
        tracing::warn!(
            component = %component,
            "the schedule `{}` has come to a time that is {} s away: a clock was wrong; it waits until then; fix: let a time \
             service set the clocks, or give the schedule another name",
            schedule.name,
            cursor.fired.saturating_sub(now) / 1000
        );
    }
    let plan = plan::plan(&schedule.timetable, schedule.missed, cursor.fired, now);
    if plan.skipped {
        tracing::warn!(
            component = %component,
            "due times of the schedule `{}` were missed and are left out, because no host ran or none could store messages",
            schedule.name
        );
    }
    for due in plan.fire {
        let (id, message) = scheduled.message(due).map_err(|error| QueueError::Nats(error.into()))?;
        match cursors.fire(scheduled, &cursor, due, id.clone(), message).await? {
            Fired::Done(moved) => {
                tracing::debug!(component = %component, "stored message {id} of the schedule `{}`", schedule.name);
                cursor = moved;
            }
            // It is looked at again at once.
            Fired::Taken => return Ok(Some(now)),
            Fired::Full => return Err(QueueError::Full("the queue".into())),
        }
    }
    if let Some(newest) = plan.newest.filter(|newest| *newest > cursor.fired) {
        match cursors.swap(scheduled, Some(&cursor), newest).await? {
            Some(moved) => cursor = moved,
            None => return Ok(Some(now)),
        }
    }
    Ok(next(cursor.fired))
}
