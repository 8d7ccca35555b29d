//! The running long reads of a database, in the order of their start, so that the oldest can be ended.

use super::gauge::Stopper;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of reads that are ended.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How long to wait for the end of a cancelled read, which ends at its next step.
    const END_WAIT: Duration = Duration::from_secs(1);
}

/// The running reads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    running: Mutex<Running>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    last: u64,
    reads: BTreeMap<u64, (Stopper, CancellationToken)>,
}

/// A running read; it counts as ended when this is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    all: Arc<Reads>,
    number: u64,
    evicted: CancellationToken,
}

impl Reads {
    fn running(&self) -> parking_lot::MutexGuard<'_, Running> {
        self.running.lock()
    }

    /// Registers a read that `stopper` can end.
    pub(super) fn begin(self: &Arc<Self>, stopper: Stopper) -> Reading {
        let mut running = self.running();
        running.last += 1;
        let (number, evicted) = (running.last, CancellationToken::new());
        running.reads.insert(number, (stopper, evicted.clone()));
        Reading { all: self.clone(), number, evicted }
    }

    /// Ends the oldest read and waits for its end; `false` when there is none, or it does not end. Blocks.
    pub(super) fn end_oldest(&self) -> bool {
        let mut running = self.running();
        let Some((number, (stopper, evicted))) = running.reads.first_key_value() else {
            return false;
        };
        let number = *number;
        evicted.cancel();
        stopper.stop();
        let waited = self.ended.wait_while_for(&mut running, |running| running.reads.contains_key(&number), END_WAIT);
        !waited.timed_out()
    }
}

impl Reading {
    /// Cancelled when the read must end because it is the oldest.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.all.running().reads.remove(&self.number);
        self.all.ended.notify_all();
    }
}
