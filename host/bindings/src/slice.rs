//! The processor permit of an instance that computes for long.
//!
//! `souk-runtime` gives such permits out (see its `fairness`). It is kept here, in the instance's context, so that host
//! functions can give it back before they wait: a link calls its callee within the caller's own task, and the caller must
//! not keep the permit from others, its callee among them, meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// The permit of one instance, while it has one; cheap to clone.
#[derive(Clone, Default)]
pub struct Slice(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slice {
    /// Keeps `permit` until it is given back.
    pub fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// Gives the permit back: at the end of a call, and whenever the guest waits for something.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
