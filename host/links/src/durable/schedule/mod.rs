//! Schedules: the host calls functions at certain times, with durable messages.
//!
//! Every host that runs a scheduled component watches the clock and makes the calls. Two things ensure that each call
//! is stored once: a [cursor](cursors) that the hosts compare and swap, and an id that is derived from the schedule and
//! the due time. From then on the call is a normal durable message: it is delivered until the function accepts or
//! rejects it, and `souk events` shows it. So, as with every durable link, a function may get a call twice, and
//! recognises it by its id.
//!
//! Due times can be missed, because no host ran or none could store messages. The manifest says whether they are left
//! out, called once together, or called once each ([`plan`]).
//!
//! **Clocks.** Due times are UTC by the host's clock. A host whose clock differs from that of the NATS servers by more
//! than [`MAX_CLOCK_SKEW`] makes no calls and logs that: it would make calls at wrong times, and the other hosts would
//! take them as done.

mod cursors;
mod plan;
mod scheduled;

#[cfg(test)]
mod tests;

pub(super) use cursors::Cursor;
pub use scheduled::{ScheduleError, Scheduled};

use super::log_throttle::LogThrottle;
use super::message::QueueError;
use super::queue::Queue;
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
    /// The longest that a host sleeps before it checks what is due: its clock may be set meanwhile.
    const MAX_SLEEP: Duration = Duration::from_secs(30);
    /// The pause after a call that could not be made.
    const RETRY_INTERVAL: Duration = Duration::from_secs(1);
    /// The most schedules whose calls are made at the same time.
    const MAX_CONCURRENT: usize = 16, "schedules";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, plan::FIXED_LIMITS].concat()
}

/// Makes the calls of `schedules` that are due, until `stop`.
pub(super) async fn run(queue: Queue, schedules: Vec<Arc<Scheduled>>, stop: CancellationToken) {
    let mut clock = ScheduleRunner::new(queue, schedules);
    loop {
        let pause = match clock.turn().await {
            Ok(pause) => pause,
            Err(error) => {
                clock
                    .log_throttle
                    .failed(|_| tracing::error!("no schedule can be called: {error}; fix: {}", error.fix()));
                RETRY_INTERVAL
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// The schedules of a host, and when it checks each.
struct ScheduleRunner {
    queue: Queue,
    cursors: Option<Cursors>,
    watched: Vec<Watched>,
    /// When this host's clock was last compared and was right.
    clock_checked: Option<Instant>,
    log_throttle: LogThrottle,
}

/// A schedule that is checked again at `next`, if at all.
struct Watched {
    scheduled: Arc<Scheduled>,
    next: Option<i64>,
    /// Whether this host has checked it before.
    known: bool,
    log_throttle: LogThrottle,
}

impl Watched {
    fn new(scheduled: Arc<Scheduled>) -> Self {
        Watched { scheduled, next: Some(0), known: false, log_throttle: LogThrottle::default() }
    }

    fn succeeded(&mut self, next: Option<i64>) {
        (self.next, self.known) = (next, true);
        let (component, name) = (self.scheduled.component(), &self.scheduled.schedule.name);
        self.log_throttle.recovered(|| tracing::info!(component = %component, "the schedule `{name}` works again"));
    }

    /// Only this schedule is tried again soon: the others do not wait for it.
    fn failed(&mut self, error: &QueueError) {
        self.next = Some(now().saturating_add(millis(RETRY_INTERVAL)));
        let (component, name) = (self.scheduled.component(), &self.scheduled.schedule.name);
        self.log_throttle.failed(|_| {
            tracing::error!(
                component = %component,
                "the schedule `{name}` cannot make its calls, and is tried again: {error}; fix: {}",
                error.fix()
            );
        });
    }
}

impl ScheduleRunner {
    fn new(queue: Queue, schedules: Vec<Arc<Scheduled>>) -> Self {
        ScheduleRunner {
            queue,
            cursors: None,
            watched: schedules.into_iter().map(Watched::new).collect(),
            clock_checked: None,
            log_throttle: LogThrottle::default(),
        }
    }

    /// Makes the calls that are due; returns how long to sleep before the next turn.
    ///
    /// # Errors
    /// When no schedule can be called: the clock is off, or the cursors cannot be reached.
    async fn turn(&mut self) -> Result<Duration, QueueError> {
        if self.cursors.is_none() {
            self.cursors = Some(Cursors::open(&self.queue).await?);
        }
        let Some(cursors) = &self.cursors else { return Ok(RETRY_INTERVAL) };
        if self.clock_checked.is_none_or(|checked| checked.elapsed() >= CLOCK_INTERVAL) {
            let offset = cursors.clock_offset().await?;
            if offset.saturating_abs() > millis(MAX_CLOCK_SKEW) {
                self.clock_checked = None;
                return Err(QueueError::Clock(offset));
            }
            self.clock_checked = Some(Instant::now());
        }
        let now = now();
        let mut due: Vec<(usize, bool, Arc<Scheduled>)> = self
            .watched
            .iter()
            .enumerate()
            .filter(|(_, watched)| watched.next.is_some_and(|next| next <= now))
            .map(|(at, watched)| (at, watched.known, watched.scheduled.clone()))
            .collect();
        // Each host starts with a random schedule, so that two hosts seldom make the same call at the same time.
        let random = souk_manifest::clock::jitter().and_then(|random| usize::try_from(random % (1 << 31)).ok());
        let begin = random.unwrap_or(0).checked_rem(due.len()).unwrap_or(0);
        due.rotate_left(begin);
        let calls = due
            .into_iter()
            .map(|(at, known, scheduled)| async move { (at, call_due(cursors, &scheduled, known, now).await) });
        let made: Vec<_> = futures::stream::iter(calls).buffer_unordered(MAX_CONCURRENT).collect().await;
        for (at, next) in made {
            let Some(watched) = self.watched.get_mut(at) else { continue };
            match next {
                Ok(next) => watched.succeeded(next),
                Err(error) => watched.failed(&error),
            }
        }
        self.log_throttle.recovered(|| tracing::info!("schedules work again"));
        let next = self.watched.iter().filter_map(|watched| watched.next).min();
        let pause = next.map(|next| u64::try_from(next.saturating_sub(super::now())).unwrap_or(0));
        Ok(pause.map_or(MAX_SLEEP, Duration::from_millis).min(MAX_SLEEP))
    }
}

/// Makes the due calls of one schedule; returns when it is due next. `known` says whether this host has checked the
/// schedule before.
async fn call_due(cursors: &Cursors, scheduled: &Scheduled, known: bool, now: i64) -> Result<Option<i64>, QueueError> {
    let (schedule, component) = (&scheduled.schedule, scheduled.component());
    let next = |fired: i64| schedule.timetable.after(fired.max(now));
    let mut cursor = match cursors.read(scheduled).await? {
        // Due times of another timetable, or from before the schedule existed, were not missed.
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
            "the last call of the schedule `{}` was for a time that is {} s in the future, because a clock was wrong: it makes \
             no calls until then; fix: let a time service set the clocks, or give the schedule another name",
            schedule.name,
            cursor.fired.saturating_sub(now) / 1000
        );
    }
    let plan = plan::plan(&schedule.timetable, schedule.missed, cursor.fired, now);
    let mut leaves_out = plan.skipped;
    // Each move of the cursor leaves out what is before it, and only one host moves it.
    let mut log_left_out = || {
        if std::mem::take(&mut leaves_out) {
            tracing::warn!(
                component = %component,
                "due times of the schedule `{}` were missed and are left out, because no host ran or none could store messages",
                schedule.name
            );
        }
    };
    for due in plan.fire {
        let (id, message) = scheduled.message(due).map_err(|error| QueueError::Nats(error.into()))?;
        match cursors.fire(scheduled, &cursor, due, id.clone(), message).await? {
            Fired::Done(moved) => {
                tracing::debug!(component = %component, "stored message {id} of the schedule `{}`", schedule.name);
                cursor = moved;
                log_left_out();
            }
            // Another host made this call; check again at once.
            Fired::Taken => return Ok(Some(now)),
            Fired::Full => return Err(QueueError::Full("the queue".into())),
            Fired::TooLarge(most) => return Err(QueueError::TooLarge(most)),
        }
    }
    if let Some(newest) = plan.newest.filter(|newest| *newest > cursor.fired) {
        match cursors.swap(scheduled, Some(&cursor), newest).await? {
            Some(moved) => {
                cursor = moved;
                log_left_out();
            }
            None => return Ok(Some(now)),
        }
    }
    Ok(next(cursor.fired))
}
