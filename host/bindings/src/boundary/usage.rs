//! The resource usage of a component: processor time and memory of all its instances.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The resource usage of one component; shared by its instances.
///
/// Processor time is sampled: at each tick, the clock of processor slices counts one tick for every instance of the
/// component that is computing. A second of computing gives about two hundred ticks, however short the calls are. (Fuel
/// would be exact, but would slow down every block of code.)
#[derive(Debug, Default)]
pub struct Usage {
    computing: AtomicU32,
    /// Ticks of the clock so far.
    passed: AtomicU64,
    ticks: AtomicU64,
    memory: AtomicU64,
}

impl Usage {
    /// Called at each tick of the clock.
    pub fn tick(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        let computing = self.computing.load(Ordering::Relaxed);
        if computing > 0 {
            self.ticks.fetch_add(computing.into(), Ordering::Relaxed);
        }
    }

    /// The number of ticks at which an instance was computing.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Bytes of the linear memories of all instances.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn take_memory(&self, bytes: u64) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_memory_back(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}

thread_local! {
    /// The instance that computes on this thread.
    static COMPUTES: RefCell<Option<Computing>> = const { RefCell::new(None) };
}

/// An instance that computes on this thread, until this value is dropped on the same thread. If another instance called
/// it on this thread, that instance does not count as computing meanwhile.
pub struct Running {
    caller: Option<Computing>,
}

/// One instance of a component that is computing.
struct Computing {
    usage: Arc<Usage>,
    /// The tick of the clock at which it began.
    since: u64,
}

impl Running {
    /// Marks that an instance of the component with this usage begins to compute.
    pub fn begin(usage: &Arc<Usage>) -> Self {
        let since = usage.passed.load(Ordering::Relaxed);
        let caller = COMPUTES.replace(Some(Computing { usage: usage.clone(), since }));
        if let Some(caller) = &caller {
            caller.usage.computing.fetch_sub(1, Ordering::Relaxed);
        }
        usage.computing.fetch_add(1, Ordering::Relaxed);
        Running { caller }
    }

    /// Whether the clock has ticked since the instance on this thread began to compute.
    pub fn has_seen_a_tick() -> bool {
        let seen = |computing: &Computing| computing.usage.passed.load(Ordering::Relaxed) > computing.since;
        COMPUTES.with_borrow(|computing| computing.as_ref().is_some_and(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let caller = self.caller.take();
        if let Some(caller) = &caller {
            caller.usage.computing.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(callee) = COMPUTES.replace(caller) {
            callee.usage.computing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
