//! The processor permit of an instance that computes for long, and where its processor time is counted.
//!
//! `souk-runtime` gives such permits out (see its `fairness`). It is kept here, in the instance's context, so that host
//! functions can give it back before they wait: a link calls its callee within the caller's own task, and the caller must
//! not keep the permit from others, its callee among them, meanwhile.

use crate::boundary::{Running, Usage};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The permit of one instance, while it has one; cheap to clone.
#[derive(Clone)]
pub struct Slice {
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    usage: Arc<Usage>,
}

impl Slice {
    /// That of an instance whose processor time `usage` counts.
    pub fn of(usage: &Arc<Usage>) -> Self {
        Slice { permit: Arc::default(), usage: usage.clone() }
    }

    /// Keeps `permit` until it is given back.
    pub fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.permit.lock() = Some(permit);
    }

    /// Gives the permit back: at the end of a call, and whenever the guest waits for something.
    pub fn release(&self) {
        self.permit.lock().take();
    }

    /// The instance computes on this thread until what is returned is dropped.
    pub fn compute(&self) -> Running {
        Running::begin(&self.usage)
    }
}
