//! Log lines about a failure that repeats: at most one every ten seconds, since there may be thousands of calls a
//! second.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of the log.
    pub(crate) const FIXED_LIMITS = "durable";

    /// The least time between two log lines about one failure.
    const LOG_INTERVAL: Duration = Duration::from_secs(10);
}

/// Limits how often one failure is logged, and notices when it has ended.
#[derive(Default)]
pub(crate) struct LogThrottle {
    /// When the failure was logged last, and how often it has happened since.
    last_logged: Mutex<Option<(Instant, u64)>>,
}

impl LogThrottle {
    /// The failure has happened. Calls `log` when a line is due, with the number of failures since the last line.
    pub(crate) fn failed(&self, log: impl FnOnce(u64)) {
        let mut last = self.last_logged.lock();
        let more = match last.as_mut() {
            Some((at, more)) if at.elapsed() < LOG_INTERVAL => {
                *more += 1;
                return;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        *last = Some((Instant::now(), 0));
        log(more);
    }

    /// The operation has succeeded. Calls `log` when it had failed before.
    pub(crate) fn recovered(&self, log: impl FnOnce()) {
        if self.last_logged.lock().take().is_some() {
            log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_failure_is_logged_once_and_so_is_its_end() {
        let (throttle, logged, recoveries) = (LogThrottle::default(), Cell::new(0), Cell::new(0));
        let ok = || throttle.recovered(|| recoveries.set(recoveries.get() + 1));
        ok();
        for _ in 0..3 {
            (0..100).for_each(|_| throttle.failed(|more| logged.set(logged.get() + 1 + more)));
            ok();
            ok();
        }
        assert_eq!((logged.get(), recoveries.get()), (3, 3));
    }
}
