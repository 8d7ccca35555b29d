//! The processor permit of an instance that computes for long, and the counter of its processor time.
//!
//! `souk-runtime` grants these permits (see its `fairness`). The permit is kept here, in the instance's context, so
//! that host functions can give it back before they wait. For example, a link calls its callee within the caller's own
//! task; meanwhile the caller must not keep the permit from others, such as its callee.

use crate::boundary::{Running, Usage};
use parking_lot::Mutex;
use std::sync::Arc;

/// Whatever gives the permit back when it is dropped.
type Permit = Box<dyn Send>;

/// The permit of one instance, while it has one; cheap to clone.
#[derive(Clone)]
pub struct Slice {
    permit: Arc<Mutex<Option<Permit>>>,
    usage: Arc<Usage>,
}

impl Slice {
    /// The slice of an instance whose processor time `usage` counts.
    pub fn of(usage: &Arc<Usage>) -> Self {
        Slice { permit: Arc::default(), usage: usage.clone() }
    }

    /// Keeps `permit` until it is given back.
    pub fn hold(&self, permit: impl Send + 'static) {
        *self.permit.lock() = Some(Box::new(permit));
    }

    /// Gives the permit back: at the end of a call, and whenever the guest waits for something.
    pub fn release(&self) {
        let permit = self.permit.lock().take();
        drop(permit);
    }

    /// Marks the instance as computing on this thread, until the returned value is dropped.
    pub fn compute(&self) -> Running {
        Running::begin(&self.usage)
    }
}
