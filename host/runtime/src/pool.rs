//! One component that runs: its versions, and its instances, which are made on demand, lent to one call at a time, and bounded
//! in number over all versions.
//!
//! Links, routes and deliveries hold the pool, and never a version: a call is given one when it begins and keeps it. Which
//! one is a look at two pointers under a lock that nobody holds for longer.

use super::error::{CallError, Failure};
use super::fairness::Fairness;
use super::profile::Profiler;
use super::version::{Instance, Version, VersionConfig};
use super::{panic, plain};
use parking_lot::RwLock;
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

/// What a pool is made from.
pub struct PoolConfig {
    /// The version that serves.
    pub version: VersionConfig,
    /// The component's limits.
    pub limits: ComponentLimits,
    /// The process's fairness between busy guests.
    pub fairness: Fairness,
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

/// Which versions calls get.
struct Serving {
    active: Arc<Version>,
    /// A version that is tried out, and the draws below which a call gets it.
    canary: Option<(Arc<Version>, u16)>,
}

/// The pool of one component.
pub struct Pool {
    component: Arc<str>,
    pub(super) limits: ComponentLimits,
    fairness: Fairness,
    profiler: Profiler,
    serving: RwLock<Serving>,
    /// The functions of all versions so far, interface and name: a link knows one by its place here.
    table: RwLock<Vec<(String, String)>>,
    /// One permit an instance that may exist.
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Deliveries of messages to it.
    deliveries: Boundary,
    failures: Failures,
    pressure: OnceLock<Pressure>,
    boundaries: Boundaries,
}

/// A version on loan to a call, which counts until this is dropped.
pub(super) struct InUse(pub(super) Arc<Version>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Arc<Self> {
        let slots = usize::try_from(config.limits.instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let component = config.version.compiled.name.clone();
        let functions = config.version.compiled.exported.functions.iter();
        let table: Vec<_> = functions.map(|f| (f.interface.clone(), f.name.clone())).collect();
        let active = Version::new(config.version, &table, &config.boundaries);
        Arc::new(Pool {
            deliveries: config.boundaries.deliveries(&component),
            failures: config.boundaries.failures(&component),
            component,
            limits: config.limits,
            fairness: config.fairness,
            profiler: Profiler::default(),
            serving: RwLock::new(Serving { active, canary: None }),
            table: RwLock::new(table),
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            pressure: OnceLock::new(),
            boundaries: config.boundaries,
        })
    }

    /// The version for a call with this draw, which counts as in use from now on.
    pub(super) fn choose(&self, draw: u16) -> InUse {
        let serving = self.serving.read();
        let version = match &serving.canary {
            Some((canary, share)) if draw < *share => canary,
            _ => &serving.active,
        };
        // With the lock held: a version that is retired has all its calls counted.
        version.begin();
        InUse(version.clone())
    }

    /// Where samples of its processor time go.
    pub(super) fn profiler(&self) -> &Profiler {
        &self.profiler
    }

    /// The version that serves.
    pub fn active(&self) -> Arc<Version> {
        self.serving.read().active.clone()
    }

    /// The version that is tried out, and how many of [`DRAWS`](souk_bindings::call::DRAWS) draws get it.
    pub fn canary(&self) -> Option<(Arc<Version>, u16)> {
        self.serving.read().canary.clone()
    }

    /// The place of `interface#name` in the component's table, by which all versions know it.
    pub fn position(&self, interface: &str, name: &str) -> Option<usize> {
        self.table.read().iter().position(|(of, function)| of == interface && function == name)
    }

    /// A new version, which gets no call yet, with one instance made, so that code that cannot start is found now.
    ///
    /// # Errors
    /// When the guest traps while it is made.
    pub async fn prepare(self: &Arc<Self>, config: VersionConfig) -> Result<Arc<Version>, CallError> {
        let version = {
            let mut table = self.table.write();
            for function in &config.compiled.exported.functions {
                if !table.iter().any(|(of, name)| *of == function.interface && *name == function.name) {
                    table.push((function.interface.clone(), function.name.clone()));
                }
            }
            Version::new(config, &table, &self.boundaries)
        };
        let call = CallContext::new("deploy", self.call_deadline());
        let deadline = call.deadline;
        let made = tokio::time::timeout_at(deadline, Box::pin(self.instantiate(&version, call))).await;
        let mut instance = made.unwrap_or_else(|_| Err(self.late()))?;
        let ctx = instance.store.data_mut();
        ctx.slice.release();
        if ctx.end() {
            version.keep(instance);
        }
        Ok(version)
    }

    /// Gives calls with a draw below `share` to `version`; both versions begin to count what becomes of calls.
    pub fn try_out(&self, version: Arc<Version>, share: u16) {
        let mut serving = self.serving.write();
        serving.active.tally.start();
        version.tally.start();
        serving.canary = Some((version, share));
    }

    /// Lets `version` serve; the one that did takes no more calls and is returned.
    pub fn promote(&self, version: Arc<Version>) -> Arc<Version> {
        version.serve_again();
        let old = {
            let mut serving = self.serving.write();
            serving.canary = None;
            std::mem::replace(&mut serving.active, version)
        };
        self.active().tally.stop();
        old.tally.stop();
        old.retire();
        old
    }

    /// Takes the version away that is tried out.
    pub fn withdraw(&self) -> Option<Arc<Version>> {
        let canary = {
            let mut serving = self.serving.write();
            serving.active.tally.stop();
            serving.canary.take()
        };
        canary.map(|(version, _)| {
            version.tally.stop();
            version.retire();
            version
        })
    }

    /// Lets `pressure` know while calls wait for an instance, so that it ends a call whose own caller keeps an instance
    /// waiting. Counts once.
    pub fn on_pressure(&self, pressure: impl Fn(&Arc<str>) + Send + Sync + 'static) {
        let _ = self.pressure.set(Box::new(pressure));
    }

    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        &self.component
    }

    /// The component's limits at the start, of which some count until the end: how many instances, deliveries and bytes of
    /// a call.
    pub fn limits(&self) -> &ComponentLimits {
        &self.limits
    }

    /// One of its limits as it is now: a reload gives a version others.
    pub fn limit<T>(&self, of: impl FnOnce(&ComponentLimits) -> T) -> T {
        of(&self.serving.read().active.grants().limits)
    }

    /// How many instances serve a call now.
    pub fn busy(&self) -> u64 {
        self.limits.instances.saturating_sub(self.slots.available_permits() as u64)
    }

    /// What its instances may reach.
    pub fn grants(&self) -> Arc<Grants> {
        self.active().grants().clone()
    }

    /// What deliveries of messages to it cross.
    pub fn deliveries(&self) -> &Boundary {
        &self.deliveries
    }

    /// Whether and where traces are recorded.
    pub fn tracer(&self) -> &Tracer {
        self.boundaries.tracer()
    }

    /// How long one call may take.
    pub fn call_deadline(&self) -> Duration {
        self.limit(|limits| limits.call_deadline)
    }

    /// How long an instance may stand unused.
    pub fn idle_limit(&self) -> Duration {
        self.limit(|limits| limits.idle)
    }

    /// How many instances are in use now.
    pub fn in_use(&self) -> PoolUse {
        let most = usize::try_from(self.limits.instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        PoolUse {
            busy: most.saturating_sub(self.slots.available_permits()),
            idle: self.versions().iter().map(|version| version.idle()).sum(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Drops the instances that nobody has used for the limit `idle`, and with them their memory.
    pub fn sweep(&self) {
        let idle = self.idle_limit();
        self.versions().iter().for_each(|version| version.sweep(idle));
    }

    /// Those that take calls.
    fn versions(&self) -> Vec<Arc<Version>> {
        let serving = self.serving.read();
        let canary = serving.canary.iter().map(|(version, _)| version);
        [&serving.active].into_iter().chain(canary).cloned().collect()
    }

    pub(super) fn error(&self, failure: Failure, detail: impl std::fmt::Display) -> CallError {
        self.failures.count(failure.key());
        CallError::new(&self.component, failure, detail)
    }

    /// An instance of `version` for one call: an idle one, a new one, or, when as many as may exist are busy, the next that is
    /// free.
    pub(super) async fn lease(self: &Arc<Self>, version: InUse, call: CallContext) -> Result<Lease, CallError> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            // What is rare is in a box, so that it takes no room in every call.
            Err(_) => Box::pin(self.wait_for_slot(&call)).await?,
        };
        // A call that is recorded or replayed finds nothing that another one left.
        let idle = if call.tape.is_some() { None } else { version.0.take_idle() };
        let mut instance = match idle {
            Some(mut instance) => {
                instance.store.data_mut().begin(call);
                instance
            }
            None => Box::pin(self.instantiate(&version.0, call)).await?,
        };
        instance.uses += 1;
        // The epoch went on while the instance was idle: its slice starts now.
        instance.store.set_epoch_deadline(1);
        Ok(Lease { instance, pool: self.clone(), _permit: permit, version })
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
        let (waiting, wait) = self.limit(|limits| (limits.waiting, limits.wait));
        if ahead as u64 >= waiting {
            return Err(self.error(Failure::Overloaded, format_args!("{ahead} callers wait already (limit `waiting`)")));
        }
        let patience = wait.min(call.remaining());
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

    async fn instantiate(self: &Arc<Self>, version: &Version, call: CallContext) -> Result<Instance, CallError> {
        let failed = |e: wasmtime::Error| self.error(Failure::Instantiation, format_args!("{e:#}"));
        let compiled = &version.compiled;
        let ctx = Ctx::new(version.grants().clone(), call).map_err(failed)?;
        let mut store = Store::new(compiled.pre.engine(), ctx);
        store.limiter(|ctx| &mut ctx.limits);
        store.set_hostcall_fuel(self.hostcall_fuel());
        store.set_epoch_deadline(1);
        self.fairness.govern(&mut store, &self.profiler);
        let slice = store.data().slice.clone();
        let instance = {
            let instantiate = pin!(compiled.pre.instantiate_async(&mut store));
            panic::drive(&slice, instantiate).await.map_err(failed)?
        };
        let exported = &compiled.exported;
        let mut functions = Vec::with_capacity(exported.functions.len());
        for function in &exported.functions {
            let func = instance.get_func(&mut store, function.index);
            functions.push(func.ok_or_else(|| self.error(Failure::NotExported, &function.name))?);
        }
        let handler = compiled.handler.as_ref().map(|handler| handler.load(&mut store, &instance));
        let handler = handler.transpose().map_err(failed)?;
        let plain =
            compiled.plain.map(|index| plain::load(&mut store, &instance, index)).transpose().map_err(failed)?;
        Ok(Instance { store, functions, handler, plain, uses: 0, idle_since: Instant::now() })
    }
}

/// An instance on loan. Dropped as it is, the instance goes too; [`Lease::give_back`] keeps it for the next call.
pub(super) struct Lease {
    // Before the permit: the instance must be gone when the next one may be made.
    pub(super) instance: Instance,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
    // Last: the version has ended its calls when their instances are gone.
    pub(super) version: InUse,
}

impl Lease {
    /// Ends a call that succeeded and whose instance may serve no other: what it printed without an end of line goes to
    /// the log before it is dropped.
    pub(super) fn finish(mut self) {
        self.end();
    }

    /// Ends a call that succeeded. The instance is kept unless it has served enough calls, or holds something that the
    /// next call must not find (an open transaction).
    pub(super) fn give_back(mut self) {
        let clean = self.end();
        // In this order the instance is dropped before its permit, and the permit before the version's count.
        let Lease { version, _permit, pool: _pool, mut instance } = self;
        if clean && instance.uses < version.0.grants().limits.max_reuse {
            instance.idle_since = Instant::now();
            version.0.keep(instance);
        }
    }

    /// Ends the call; says whether the instance is as it was before.
    fn end(&mut self) -> bool {
        let ctx = self.instance.store.data_mut();
        ctx.slice.release();
        if ctx.limits.take_refused() {
            self.version.0.tally.note_memory();
        }
        ctx.end()
    }
}
