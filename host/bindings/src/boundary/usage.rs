//! What a component takes of the machine: processor time and memory, of all of its instances.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What one component takes; shared by its instances.
///
/// Processor time is sampled: the clock of processor slices looks at each tick how many instances of the component compute,
/// and counts a tick for each. A component that has computed for a second has some two hundred, however short its calls.
/// (Fuel would be exact, and slow every block of code.)
#[derive(Debug, Default)]
pub struct Usage {
    computing: AtomicU32,
    /// Ticks of the clock so far.
    passed: AtomicU64,
    ticks: AtomicU64,
    memory: AtomicU64,
}

impl Usage {
    /// A tick of the clock.
    pub fn tick(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        let computing = self.computing.load(Ordering::Relaxed);
        if computing > 0 {
            self.ticks.fetch_add(computing.into(), Ordering::Relaxed);
        }
    }

    /// At how many ticks an instance has computed.
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
    /// Whose computing this thread does.
    static COMPUTES: RefCell<Option<Computing>> = const { RefCell::new(None) };
}

/// An instance that computes on this thread, until this is dropped on the same thread. One that called it there, and whose
/// computing this is a part of, does not compute meanwhile.
pub struct Running {
    caller: Option<Computing>,
}

/// An instance of this component computes.
struct Computing {
    usage: Arc<Usage>,
    /// At which tick of the clock it began.
    since: u64,
}

impl Running {
    /// An instance of the component with this usage begins to compute.
    pub fn begin(usage: &Arc<Usage>) -> Self {
        let since = usage.passed.load(Ordering::Relaxed);
        let caller = COMPUTES.replace(Some(Computing { usage: usage.clone(), since }));
        if let Some(caller) = &caller {
            caller.usage.computing.fetch_sub(1, Ordering::Relaxed);
        }
        usage.computing.fetch_add(1, Ordering::Relaxed);
        Running { caller }
    }

    /// Whether the clock has ticked since the instance began that computes on this thread.
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
