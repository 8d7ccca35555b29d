//! Reports of events that may be frequent, such as refused connections.

use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of reports.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// How often to report that connections are refused or not accepted.
    const REPORT_INTERVAL: Duration = Duration::from_secs(5);
}

/// Reports frequent events, but only at intervals.
#[derive(Default)]
pub(super) struct Report {
    last: Option<Instant>,
    more: u64,
}

impl Report {
    /// Calls `report` with the number of unreported events, unless it was called a moment ago.
    pub(super) fn happened(&mut self, report: impl FnOnce(u64)) {
        if self.last.is_some_and(|last| last.elapsed() < REPORT_INTERVAL) {
            self.more += 1;
            return;
        }
        self.last = Some(Instant::now());
        report(std::mem::take(&mut self.more));
    }
}
