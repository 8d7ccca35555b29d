//! The share of one component in the databases that it is granted.

use super::error::{internal, to_guest_crowded};
use super::{BUSY_TIMEOUT, Error, MAX_STATEMENTS, STREAM_READERS};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits how many statements one component runs at the same time, on all its databases; cheap to clone.
///
/// Streams have a separate limit: otherwise a guest that reads a stream and runs a statement for each row could wait
/// for itself.
#[derive(Debug, Clone)]
pub struct Share {
    statements: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Default for Share {
    fn default() -> Self {
        Share {
            statements: Arc::new(Semaphore::new(MAX_STATEMENTS)),
            streams: Arc::new(Semaphore::new(STREAM_READERS)),
        }
    }
}

impl Share {
    /// Identifies the component, where components take turns.
    pub(super) fn owner(&self) -> usize {
        // No other share has this allocation while a call of the component runs.
        Arc::as_ptr(&self.statements).addr()
    }

    /// Waits until the component may run one more statement on `label`. A statement that needs the writer must wait for
    /// the writer first: statements that wait for the writer must not block its owner.
    pub(super) async fn statement(&self, label: &str) -> Result<OwnedSemaphorePermit, Error> {
        let permit = tokio::time::timeout(BUSY_TIMEOUT, self.statements.clone().acquire_owned());
        permit.await.map_err(|_| to_guest_crowded())?.map_err(|e| internal(label, "its statements are closed", e))
    }

    /// The number of further statements that may run.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.statements.available_permits()
    }

    /// Permission for one more stream; `None` when the component has used its share.
    pub(super) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().ok()
    }
}
