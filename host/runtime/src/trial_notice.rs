//! What a component's instances on this host must know of a trial, when several hosts run the component.
//!
//! One host tries a version out. For a whole tree of calls to see one version, calls for that version must reach that
//! host, wherever they are made: hosts that do not run the component send them there, and so does a host that runs it
//! without that version. The rest of such a tree is served everywhere as before.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// What is known of trials of one component.
#[derive(Debug, Default)]
pub struct TrialNotice {
    /// The id of the trial of this host, or of its last one.
    here: Mutex<Option<Arc<str>>>,
    /// The draws below which a call is for a version that another host tries out; 0 while none does.
    elsewhere: AtomicU16,
}

impl TrialNotice {
    /// Notes that this host is about to try out a version, in the trial with this id.
    pub fn begin_here(&self, id: &str) {
        *self.here.lock() = Some(id.into());
    }

    /// The id of the trial of this host, or of its last one. Calls for its version come on a subject of their own, which
    /// nobody uses after the trial.
    pub fn here(&self) -> Option<Arc<str>> {
        self.here.lock().clone()
    }

    /// Notes the share of a version that another host tries out; 0 when none does.
    pub fn set_elsewhere(&self, share: u16) {
        self.elsewhere.store(share, Ordering::Relaxed);
    }

    /// Whether a call with this draw is for a version that another host tries out.
    pub fn is_elsewhere(&self, draw: u16) -> bool {
        draw < self.elsewhere.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_share_of_a_trial_elsewhere_is_for_its_host() {
        let notice = TrialNotice::default();
        assert!(!notice.is_elsewhere(0) && notice.here().is_none());
        notice.set_elsewhere(500);
        assert!(notice.is_elsewhere(499) && !notice.is_elsewhere(500));
        notice.set_elsewhere(0);
        assert!(!notice.is_elsewhere(0));
        notice.begin_here("one");
        assert_eq!(notice.here().as_deref(), Some("one"));
    }
}
