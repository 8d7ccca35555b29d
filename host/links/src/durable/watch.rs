//! What the log says about the queue, once a minute: how many messages wait, and what an operator should look at.

use super::complaint::Complaint;
use super::now;
use super::queue::{Queue, Stats};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often.
const PERIOD: Duration = Duration::from_secs(60);
/// A message that waits longer than this, in milliseconds, is worth a warning.
const OLD: i64 = 5 * 60 * 1000;

/// Watches `queue` until `stop`.
pub(super) async fn run(queue: Queue, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    let (mut warned, complaint) = (None, Complaint::default());
    // The first tick is now: what an earlier host left is said at the start.
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match queue.stats().await {
            Ok(stats) => {
                complaint.ended(|| ());
                warned = report(stats, now(), warned);
            }
            Err(error) => complaint.happened(|_| tracing::error!("{error}; fix: {}", error.fix())),
        }
    }
}

/// What a warning was about: whether the oldest is old, and the numbers of dead letters and of stranded messages.
type Warned = (bool, u64, u64);

/// Says how `stats` are; as a warning when there is something to warn of that is not what was `warned` of before.
fn report(stats: Stats, now: i64, warned: Option<Warned>) -> Option<Warned> {
    let age = stats.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
    let worry = Some((age > OLD, stats.dead, stats.stranded)).filter(|worry| *worry != (false, 0, 0));
    let Stats { waiting, dead, stranded, .. } = stats;
    let age = age / 1000;
    if worry.is_some() && worry != warned {
        tracing::warn!(
            "durable messages: {waiting} waiting, the oldest for {age} s, {dead} dead letters, {stranded} stranded; fix: \
             `souk events list` shows them with their reasons"
        );
    } else if waiting > 0 {
        tracing::info!(
            "durable messages: {waiting} waiting, the oldest for {age} s, {dead} dead letters, {stranded} stranded"
        );
    }
    worry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worry_is_the_age_of_the_oldest_a_dead_letter_or_what_is_stranded_and_ends_with_them() {
        let stats = |dead, oldest| Stats { waiting: 1, dead, stranded: 0, oldest: Some(oldest) };
        assert_eq!(report(stats(0, 0), OLD, None), None);
        assert_eq!(report(stats(0, 0), OLD + 1, None), Some((true, 0, 0)));
        assert_eq!(report(stats(3, 0), 0, Some((true, 0, 0))), Some((false, 3, 0)));
        let stranded = Stats { stranded: 2, ..Stats::default() };
        assert_eq!(report(stranded, OLD * 2, None), Some((false, 0, 2)));
        assert_eq!(report(Stats::default(), OLD * 2, Some((true, 3, 2))), None);
    }
}
