//! A call of a version that may be compared with another one: however it ends, it counts.

use super::trial::Outcome;
use super::version::Version;
use std::sync::Arc;
use tokio::time::Instant;

/// A call to a version, which counts how it ends if the version is compared with another one. A call that is dropped
/// before its end was given up.
pub(super) struct CountedCall(Option<(Arc<Version>, Instant)>);

impl CountedCall {
    /// Begins a call.
    pub(super) fn begin(version: &Arc<Version>) -> Self {
        CountedCall(version.tally.is_on().then(|| (version.clone(), Instant::now())))
    }

    /// Counts how it ended; `None` does not concern the version. Without a comparison, `outcome` is not called.
    pub(super) fn end(mut self, outcome: impl FnOnce() -> Option<Outcome>) {
        if let Some((version, start)) = self.0.take()
            && let Some(outcome) = outcome()
        {
            version.tally.note(outcome, start.elapsed());
        }
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        if let Some((version, start)) = self.0.take() {
            version.tally.note(Outcome::Cancelled, start.elapsed());
        }
    }
}
