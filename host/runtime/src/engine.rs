//! The one wasmtime engine of the process: compiler, memory pool, code cache and the clock of CPU slices.

use super::compiler::{Compiler, Program};
use super::config::{EngineError, cache, config, pool};
use super::vital::vital_thread;
use parking_lot::Mutex;
use souk_bindings::boundary::Usage;
use souk_manifest::limits::ComponentLimits;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of the engine.
    pub(crate) const FIXED_LIMITS = "components";

    /// The processor time that a call uses before it yields to others.
    const CPU_SLICE: Duration = Duration::from_millis(5);
    /// The instances beyond those of the start that components may have that a reload adds or enlarges. They reserve
    /// only addresses.
    const SPARE_INSTANCES: u64 = 256, "instances";
}

/// The engine, with the thread that ticks its epoch.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    compiler: Compiler,
    stop: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
    sampled: Sampled,
    /// How many instances all components may have together.
    capacity: u64,
}

/// The components for which the ticker counts processor time.
type Sampled = Arc<Mutex<Vec<Arc<Usage>>>>;

impl Engine {
    /// Starts the engine with room for `limits` (one item for each component), and with its code cache in `folder`.
    /// `program` compiles into the cache; without one the engine compiles itself.
    ///
    /// # Errors
    /// When the cache folder cannot be used.
    pub fn start<'a>(
        folder: &Path,
        limits: impl Iterator<Item = &'a ComponentLimits>,
        program: Option<Program>,
    ) -> Result<Self, EngineError> {
        let instances = limits.fold(0, |all: u64, limit| all.saturating_add(limit.instances)).max(1);
        let spare = program.as_ref().map_or(0, |_| SPARE_INSTANCES);
        let cache = cache(folder)?;
        let pooled = |capacity: u64| -> wasmtime::Result<(wasmtime::Engine, u64)> {
            let mut config = config(false);
            config.allocation_strategy(pool(capacity)).cache(Some(cache.clone()));
            Ok((wasmtime::Engine::new(&config)?, capacity))
        };
        let capacity = instances.saturating_add(spare);
        let (wasmtime, capacity, few_addresses) = match pooled(capacity).or_else(|_| pooled(instances)) {
            Ok((engine, capacity)) => (engine, capacity, false),
            Err(error) => {
                tracing::warn!(
                    "the memory for {instances} instances cannot be kept ready ({error:#}): each instance maps its own, which \
                     makes new instances and calls slower; fix: see whether `ulimit -v` is unlimited, or lower the limits \
                     `instances`"
                );
                let mut config = config(true);
                config.cache(Some(cache));
                (wasmtime::Engine::new(&config).map_err(EngineError::of)?, capacity, true)
            }
        };
        let compiler = Compiler::new(wasmtime.clone(), folder, few_addresses, program);
        let stop = Arc::new(AtomicBool::new(false));
        let sampled = Sampled::default();
        let ticker = std::thread::Builder::new()
            .name("epoch".into())
            .spawn({
                let (engine, stop, sampled) = (wasmtime.clone(), stop.clone(), sampled.clone());
                move || {
                    vital_thread("the clock of fairness", || {
                        while !stop.load(Ordering::Relaxed) {
                            std::thread::sleep(CPU_SLICE);
                            let sampled = sampled.lock();
                            sampled.iter().for_each(|usage| usage.tick());
                            drop(sampled);
                            engine.increment_epoch();
                        }
                    });
                }
            })
            .map_err(|e| EngineError(format!("the epoch thread: {e}")))?;
        Ok(Engine { wasmtime, compiler, stop, ticker: Some(ticker), sampled, capacity })
    }

    /// Starts an engine for counting the cost of calls: no clock interrupts a guest, and its memory needs few
    /// addresses, because an instrumented process does not have many. Do not serve with it: an endless guest blocks its
    /// thread.
    ///
    /// # Errors
    /// When the cache folder cannot be used.
    pub fn start_counted(folder: &Path) -> Result<Self, EngineError> {
        let mut config = config(true);
        config
            // A named target, so that the code uses no special features of this processor and is the same everywhere.
            .target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
            .map_err(EngineError::of)?
            .cache(Some(cache(folder)?));
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError::of)?;
        let compiler = Compiler::new(wasmtime.clone(), folder, true, None);
        let (stop, sampled) = (Arc::default(), Sampled::default());
        Ok(Engine { wasmtime, compiler, stop, ticker: None, sampled, capacity: u64::MAX })
    }

    /// Counts processor time for `usage` from now on, as long as the engine runs.
    pub fn sample(&self, usage: &Arc<Usage>) {
        self.sampled.lock().push(usage.clone());
    }

    /// Counts processor time for `usage` no more.
    pub fn forget(&self, usage: &Arc<Usage>) {
        self.sampled.lock().retain(|sampled| !Arc::ptr_eq(sampled, usage));
    }

    /// How many instances all components may have together: the sum of their limits `instances`.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The processor time of one tick.
    pub fn tick() -> Duration {
        CPU_SLICE
    }

    /// The compiler for this engine.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// The wasmtime engine.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}
