//! Logs the state of the queue once a minute: how many messages wait, and what an operator should look at.

use super::log_throttle::LogThrottle;
use super::message::Stats;
use super::now;
use super::queue::Queue;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of the report.
    pub(crate) const FIXED_LIMITS = "durable";

    /// How often the log says how many messages wait.
    const REPORT_INTERVAL: Duration = Duration::from_secs(60);
    /// A message that has waited longer than this is worth a warning.
    const OLD_AGE_MS: i64 = 5 * 60 * 1000, milliseconds;
}

/// Watches `queue` until `stop`.
pub(super) async fn run(queue: Queue, stop: CancellationToken) {
    let mut tick = tokio::time::interval(REPORT_INTERVAL);
    let (mut warned, log_throttle) = (None, LogThrottle::default());
    // The first tick is immediate, so that the start reports what an earlier host left.
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match queue.stats().await {
            Ok(stats) => {
                log_throttle.recovered(|| ());
                warned = report(stats, now(), warned);
            }
            Err(error) => log_throttle.failed(|_| tracing::error!("{error}; fix: {}", error.fix())),
        }
    }
}

/// What a warning was about: whether the oldest is old, and the numbers of dead letters and of stranded messages.
type Warned = (bool, u64, u64);

/// Logs `stats`, as a warning when they are an alert other than `warned`, the previous one. Returns the alert.
fn report(stats: Stats, now: i64, warned: Option<Warned>) -> Option<Warned> {
    let age = stats.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
    let alert = Some((age > OLD_AGE_MS, stats.dead, stats.stranded)).filter(|alert| *alert != (false, 0, 0));
    let Stats { waiting, dead, stranded, .. } = stats;
    let age = age / 1000;
    if alert.is_some() && alert != warned {
        tracing::warn!(
            "durable messages: {waiting} waiting, the oldest for {age} s, {dead} dead letters, {stranded} stranded; fix: \
             `souk events list` shows them with their reasons"
        );
    } else if waiting > 0 {
        tracing::info!(
            "durable messages: {waiting} waiting, the oldest for {age} s, {dead} dead letters, {stranded} stranded"
        );
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_message_a_dead_letter_or_a_stranded_message_is_an_alert_until_it_is_gone() {
        let stats = |dead, oldest| Stats { waiting: 1, dead, stranded: 0, oldest: Some(oldest) };
        assert_eq!(report(stats(0, 0), OLD_AGE_MS, None), None);
        assert_eq!(report(stats(0, 0), OLD_AGE_MS + 1, None), Some((true, 0, 0)));
        assert_eq!(report(stats(3, 0), 0, Some((true, 0, 0))), Some((false, 3, 0)));
        let stranded = Stats { stranded: 2, ..Stats::default() };
        assert_eq!(report(stranded, OLD_AGE_MS * 2, None), Some((false, 0, 2)));
        assert_eq!(report(Stats::default(), OLD_AGE_MS * 2, Some((true, 3, 2))), None);
    }
}
