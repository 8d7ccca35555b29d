//! The instances of one component: made on demand, lent to one call at a time, bounded in number.

use super::component::Compiled;
use super::error::{CallError, Failure};
use super::fairness::Fairness;
use super::handler::Handler;
use super::panic;
use parking_lot::Mutex;
use souk_bindings::boundary::{Boundaries, Boundary, Failures};
use souk_bindings::call::CallContext;
use souk_bindings::trace::Tracer;
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Func;

souk_manifest::fixed_limits! {
    /// The fixed limits of calls.
    pub(crate) const FIXED_LIMITS = "components";

    /// What a call may carry beside values of the limit `call_bytes`: the longest SQL statement.
    const CALL_OVERHEAD: usize = 1 << 20, bytes;
    /// How often a call that waits for an instance asks again for one that a client keeps waiting.
    const PRESSURE_INTERVAL: Duration = Duration::from_millis(100);
}

/// Asked for an instance of the component while calls wait for one.
type Pressure = Box<dyn Fn(&Arc<str>) + Send + Sync>;

/// An instance with its sandbox.
pub(super) struct Instance {
    pub(super) store: Store<Ctx>,
    /// The exported functions, in the order of [`Compiled::exported`].
    pub(super) functions: Vec<Func>,
    pub(super) handler: Option<Handler>,
    uses: u64,
    idle_since: Instant,
}

/// What a pool is made from.
pub struct PoolConfig {
    /// The linked component.
    pub compiled: Compiled,
    /// What its instances may reach.
    pub grants: Arc<Grants>,
    /// Its limits.
    pub limits: ComponentLimits,
    /// The process's fairness between busy guests.
    pub fairness: Fairness,
    /// Its version; empty when it has none.
    pub version: String,
    /// The boundaries of the application.
    pub boundaries: Boundaries,
}

/// How many instances of a pool are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Those that serve a call.
    pub busy: usize,
    /// Those that are kept for the next one.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

/// The pool of one component.
pub struct Pool {
    pub(super) compiled: Compiled,
    pub(super) limits: ComponentLimits,
    grants: Arc<Grants>,
    fairness: Fairness,
    /// One permit an instance that may exist.
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The most recently used last, so that a quiet component needs few instances.
    idle: Mutex<Vec<Instance>>,
    /// Calls of its functions, in the order of [`Compiled::exported`].
    pub(super) calls: Vec<Boundary>,
    /// HTTP requests that it answers.
    pub(super) requests: Boundary,
    /// Deliveries of messages to it.
    deliveries: Boundary,
    failures: Failures,
    tracer: Tracer,
    pressure: OnceLock<Pressure>,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Arc<Self> {
        let slots = usize::try_from(config.limits.instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (name, boundaries) = (&config.compiled.name, &config.boundaries);
        let calls = config.compiled.exported.functions.iter();
        let calls = calls.map(|f| boundaries.calls(name, &config.version, &format!("{}#{}", f.interface, f.name)));
        Arc::new(Pool {
            calls: calls.collect(),
            requests: boundaries.calls(name, &config.version, "wasi:http/handler#handle"),
            deliveries: boundaries.deliveries(name),
            failures: boundaries.failures(name),
            tracer: boundaries.tracer().clone(),
            compiled: config.compiled,
            limits: config.limits,
            grants: config.grants,
            fairness: config.fairness,
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            pressure: OnceLock::new(),
        })
    }

    /// Lets `pressure` know while calls wait for an instance, so that it ends a call whose own caller keeps an instance
    /// waiting. Counts once.
    pub fn on_pressure(&self, pressure: impl Fn(&Arc<str>) + Send + Sync + 'static) {
        let _ = self.pressure.set(Box::new(pressure));
    }

    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        &self.compiled.name
    }

    /// The linked component.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The component's limits.
    pub fn limits(&self) -> &ComponentLimits {
        &self.limits
    }

    /// How many instances serve a call now.
    pub fn busy(&self) -> u64 {
        self.limits.instances.saturating_sub(self.slots.available_permits() as u64)
    }

    /// What its instances may reach.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// What deliveries of messages to it cross.
    pub fn deliveries(&self) -> &Boundary {
        &self.deliveries
    }

    /// Whether and where traces are recorded.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// How long one call may take.
    pub fn call_deadline(&self) -> Duration {
        self.limits.call_deadline
    }

    /// How long an instance may stand unused.
    pub fn idle_limit(&self) -> Duration {
        self.limits.idle
    }

    /// How many instances are in use now.
    pub fn in_use(&self) -> PoolUse {
        let most = usize::try_from(self.limits.instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        PoolUse {
            busy: most.saturating_sub(self.slots.available_permits()),
            idle: self.instances().len(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Drops the instances that nobody has used for the limit `idle`, and with them their memory.
    pub fn sweep(&self) {
        let idle = self.idle_limit();
        let old: Vec<Instance> = {
            let mut instances = self.instances();
            let keep = instances.iter().position(|i| i.idle_since.elapsed() < idle).unwrap_or(instances.len());
            instances.drain(..keep).collect()
        };
        drop(old);
    }

    fn instances(&self) -> parking_lot::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock()
    }

    pub(super) fn error(&self, failure: Failure, detail: impl std::fmt::Display) -> CallError {
        self.failures.count(failure.key());
        CallError::new(&self.compiled.name, failure, detail)
    }

    /// An instance for one call: an idle one, a new one, or, when as many as may exist are busy, the next that is free.
    pub(super) async fn lease(self: &Arc<Self>, call: CallContext) -> Result<Lease, CallError> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            // What is rare is in a box, so that it takes no room in every call.
            Err(_) => Box::pin(self.wait_for_slot(&call)).await?,
        };
        let idle = self.instances().pop();
        let mut instance = match idle {
            Some(mut instance) => {
                instance.store.data_mut().begin(call);
                instance
            }
            None => Box::pin(self.instantiate(call)).await?,
        };
        instance.uses += 1;
        // The epoch went on while the instance was idle: its slice starts now.
        instance.store.set_epoch_deadline(1);
        Ok(Lease { instance, pool: self.clone(), _permit: permit })
    }

    /// The limit `call_bytes`, and a little for what goes with a value of that size: a statement, keys.
    fn hostcall_fuel(&self) -> usize {
        usize::try_from(self.limits.call_bytes.as_u64()).unwrap_or(usize::MAX).saturating_add(CALL_OVERHEAD)
    }

    async fn wait_for_slot(&self, call: &CallContext) -> Result<OwnedSemaphorePermit, CallError> {
        /// Counts one waiting caller for as long as it lives.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if ahead as u64 >= self.limits.waiting {
            return Err(self.error(Failure::Overloaded, format_args!("{ahead} callers wait already (limit `waiting`)")));
        }
        let patience = self.limits.wait.min(call.remaining());
        let slot = async {
            let mut slot = std::pin::pin!(self.slots.clone().acquire_owned());
            loop {
                if let Some(pressure) = self.pressure.get() {
                    pressure(self.component());
                }
                if let Ok(slot) = tokio::time::timeout(PRESSURE_INTERVAL, slot.as_mut()).await {
                    return slot;
                }
            }
        };
        match tokio::time::timeout(patience, slot).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.error(
                Failure::Overloaded,
                format_args!("no instance was free within {patience:?} (limits `instances`, `wait`)"),
            )),
        }
    }

    async fn instantiate(self: &Arc<Self>, call: CallContext) -> Result<Instance, CallError> {
        let failed = |e: wasmtime::Error| self.error(Failure::Instantiation, format_args!("{e:#}"));
        let ctx = Ctx::new(self.grants.clone(), call).map_err(failed)?;
        let mut store = Store::new(self.compiled.pre.engine(), ctx);
        store.limiter(|ctx| &mut ctx.limits);
        store.set_hostcall_fuel(self.hostcall_fuel());
        store.set_epoch_deadline(1);
        self.fairness.govern(&mut store);
        let slice = store.data().slice.clone();
        let instance = {
            let instantiate = pin!(self.compiled.pre.instantiate_async(&mut store));
            panic::drive(&slice, instantiate).await.map_err(failed)?
        };
        let exported = &self.compiled.exported;
        let mut functions = Vec::with_capacity(exported.functions.len());
        for function in &exported.functions {
            let func = instance.get_func(&mut store, function.index);
            functions.push(func.ok_or_else(|| self.error(Failure::NotExported, &function.name))?);
        }
        let handler = self.compiled.handler.as_ref().map(|handler| handler.load(&mut store, &instance));
        let handler = handler.transpose().map_err(failed)?;
        Ok(Instance { store, functions, handler, uses: 0, idle_since: Instant::now() })
    }
}

/// An instance on loan. Dropped as it is, the instance goes too; [`Lease::give_back`] keeps it for the next call.
pub(super) struct Lease {
    // Before the permit: the instance must be gone when the next one may be made.
    pub(super) instance: Instance,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Ends a call that succeeded and whose instance may serve no other: what it printed without an end of line goes to
    /// the log before it is dropped.
    pub(super) fn finish(mut self) {
        let ctx = self.instance.store.data_mut();
        ctx.slice.release();
        ctx.end();
    }

    /// Ends a call that succeeded. The instance is kept unless it has served enough calls, or holds something that the
    /// next call must not find (an open transaction).
    pub(super) fn give_back(self) {
        // In this order the instance is dropped before its permit.
        let Lease { _permit, pool, mut instance } = self;
        let ctx = instance.store.data_mut();
        ctx.slice.release();
        let clean = ctx.end();
        if clean && instance.uses < pool.limits.max_reuse {
            instance.idle_since = Instant::now();
            pool.instances().push(instance);
        }
    }
}
