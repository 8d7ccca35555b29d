//! Telling the log that the queue fails, but not each time: there may be thousands of calls a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told.
const PERIOD: Duration = Duration::from_secs(10);

/// What is told while something fails, and that it has ended.
#[derive(Default)]
pub(crate) struct Complaint {
    /// When it was told last, and how often it has happened since.
    told: Mutex<Option<(Instant, u64)>>,
}

impl Complaint {
    /// It has happened; `tell` is called when it is time to, with the number of times since it was told last.
    pub(crate) fn happened(&self, tell: impl FnOnce(u64)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let more = match told.as_mut() {
            Some((at, more)) if at.elapsed() < PERIOD => {
                *more += 1;
                return;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        *told = Some((Instant::now(), 0));
        tell(more);
    }

    /// It has not happened; `tell` is called when it had.
    pub(crate) fn ended(&self, tell: impl FnOnce()) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end() {
        let (complaint, told, ended) = (Complaint::default(), Cell::new(0), Cell::new(0));
        let ok = || complaint.ended(|| ended.set(ended.get() + 1));
        ok();
        for _ in 0..3 {
            (0..100).for_each(|_| complaint.happened(|more| told.set(told.get() + 1 + more)));
            ok();
            ok();
        }
        assert_eq!((told.get(), ended.get()), (3, 3));
    }
}
