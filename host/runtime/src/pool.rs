//! A running component: its versions and its instances. Instances are created on demand and lent to one call at a time;
//! their number is limited across all versions.
//!
//! Links, routes and deliveries hold the pool, never a version: a call gets a version when it begins, and keeps it.
//! Choosing it reads two pointers under a lock that is never held for longer.

use super::error::{CallError, Failure};
use super::fairness::Fairness;
use super::profile::Profiler;
use super::trial_notice::TrialNotice;
use super::version::{Instance, Version, VersionConfig};
use super::{panic, plain_interface};
use parking_lot::RwLock;
use souk_bindings::boundary::{Boundaries, Boundary, Failures};
use souk_bindings::call::CallContext;
use souk_bindings::pending::{MAX_ASYNC_PARTS, MAX_HANDLES};
use souk_bindings::trace::Tracer;
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::{Store, Trap};

souk_manifest::fixed_limits! {
    /// The fixed limits of calls.
    pub(crate) const FIXED_LIMITS = "components";

    /// How many bytes a call may carry in addition to the limit `call_bytes`: enough for the longest SQL statement.
    const CALL_OVERHEAD: usize = 1 << 20, bytes;
    /// The most instances that are made of a new version before it gets calls.
    const MAX_WARM: usize = 8, "instances";
    /// How often a call that waits for an instance asks again to end a call whose client keeps an instance waiting.
    const PRESSURE_INTERVAL: Duration = Duration::from_millis(100);
}

/// Called with the component's name while calls wait for an instance of it.
type Pressure = Box<dyn Fn(&Arc<str>) + Send + Sync>;

/// The configuration of a pool.
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

/// The use of a pool's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Instances that serve a call.
    pub busy: usize,
    /// Instances that are kept for the next call.
    pub idle: usize,
    /// Callers that wait for an instance.
    pub waiting: usize,
}

/// The versions that calls get.
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
    trial_notice: TrialNotice,
    /// The functions of all versions so far, by interface and name. A link refers to a function by its index here.
    table: RwLock<Vec<(String, String)>>,
    /// One permit for each instance that may exist.
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The boundary of deliveries of messages to it.
    deliveries: Boundary,
    failures: Failures,
    pressure: OnceLock<Pressure>,
    pub(super) boundaries: Boundaries,
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
            trial_notice: TrialNotice::default(),
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
        // Under the lock, so that all calls of a version are counted when it is retired.
        version.begin();
        InUse(version.clone())
    }

    /// The profiler that gets samples of its processor time.
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

    /// What is known of trials on this host and on others.
    pub fn trial_notice(&self) -> &TrialNotice {
        &self.trial_notice
    }

    /// The index of `interface#name` in the component's table, which is the same for all versions.
    pub fn position(&self, interface: &str, name: &str) -> Option<usize> {
        self.table.read().iter().position(|(of, function)| of == interface && function == name)
    }

    /// Creates a new version, which gets no calls yet. It also creates one instance, so that code that cannot start
    /// fails now, and as many more as the version that serves has, so that its first calls need not wait for theirs.
    ///
    /// # Errors
    /// When the guest traps while its instance is created.
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
        self.warm_one(&version).await?;
        let active = self.active();
        let serving = (active.idle() + active.busy()).min(MAX_WARM);
        while version.idle() > 0 && version.idle() < serving {
            let before = version.idle();
            // The first one could start, so another one lacks only memory.
            if self.warm_one(&version).await.is_err() || version.idle() == before {
                break;
            }
        }
        Ok(version)
    }

    /// Creates an instance of the version that serves, for the first call.
    ///
    /// # Errors
    /// When the guest traps while its instance is created.
    pub async fn warm(self: &Arc<Self>) -> Result<(), CallError> {
        self.warm_one(&self.active()).await
    }

    /// Creates an instance of `version` for a later call.
    async fn warm_one(self: &Arc<Self>, version: &Version) -> Result<(), CallError> {
        let limits = &version.grants().limits;
        let call = CallContext::new("deploy", limits.call_deadline);
        let deadline = call.deadline;
        let made = tokio::time::timeout_at(deadline, Box::pin(self.instantiate(version, call))).await;
        let mut instance = made.unwrap_or_else(|_| Err(self.late()))?;
        let ctx = instance.store.data_mut();
        ctx.slice.release();
        if ctx.end() {
            version.keep(instance);
        }
        Ok(())
    }

    /// Gives calls with a draw below `share` to `version`; both versions begin to count the outcomes of calls.
    pub fn try_out(&self, version: Arc<Version>, share: u16) {
        let mut serving = self.serving.write();
        serving.active.tally.start();
        version.tally.start();
        serving.canary = Some((version, share));
    }

    /// Makes `version` the one that serves. The old version takes no more calls and is returned.
    pub fn promote(&self, version: Arc<Version>) -> Arc<Version> {
        version.serve_again();
        let old = {
            let mut serving = self.serving.write();
            serving.canary = None;
            std::mem::replace(&mut serving.active, version)
        };
        let active = self.active();
        active.tally.stop();
        old.tally.stop();
        old.retire();
        self.resize(old.grants().limits.instances, active.grants().limits.instances);
        old
    }

    /// Changes the number of instances that may serve calls. A smaller number is reached as running calls end.
    fn resize(&self, from: u64, to: u64) {
        let count = |instances: u64| usize::try_from(instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (from, to) = (count(from), count(to));
        self.slots.add_permits(to.saturating_sub(from));
        let fewer = from.saturating_sub(to);
        let gone = self.slots.forget_permits(fewer);
        if gone < fewer {
            let slots = self.slots.clone();
            tokio::spawn(async move {
                // One after the other, so that calls that wait get their turns in between.
                for _ in gone..fewer {
                    let Ok(slot) = slots.acquire().await else { return };
                    slot.forget();
                }
            });
        }
    }

    /// Frees the instances of a component that is gone, and keeps none from now on. Calls that have begun go on; the
    /// version that ends them is returned.
    pub fn close(&self) -> Arc<Version> {
        let active = self.active();
        active.retire();
        active
    }

    /// Removes the version that is tried out.
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

    /// Sets a function that is called while calls wait for an instance, so that it can end a call whose own caller
    /// keeps an instance waiting. Only the first call has an effect.
    pub fn on_pressure(&self, pressure: impl Fn(&Arc<str>) + Send + Sync + 'static) {
        let _ = self.pressure.set(Box::new(pressure));
    }

    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        &self.component
    }

    /// The component's limits when it was loaded. Only the number of bytes of a call never changes.
    pub fn limits(&self) -> &ComponentLimits {
        &self.limits
    }

    /// The current value of one of its limits, which a reload can change.
    pub fn limit<T>(&self, of: impl FnOnce(&ComponentLimits) -> T) -> T {
        of(&self.serving.read().active.grants().limits)
    }

    /// The number of instances that serve a call now.
    pub fn busy(&self) -> u64 {
        self.limit(|limits| limits.instances).saturating_sub(self.slots.available_permits() as u64)
    }

    /// What its instances may reach.
    pub fn grants(&self) -> Arc<Grants> {
        self.active().grants().clone()
    }

    /// The boundary that deliveries of messages to it cross.
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

    /// How long an instance may stay unused.
    pub fn idle_limit(&self) -> Duration {
        self.limit(|limits| limits.idle)
    }

    /// The current use of its instances.
    pub fn in_use(&self) -> PoolUse {
        let instances = self.limit(|limits| limits.instances);
        let most = usize::try_from(instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        PoolUse {
            busy: most.saturating_sub(self.slots.available_permits()),
            idle: self.versions().iter().map(|version| version.idle()).sum(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Drops the instances that were not used for the limit `idle`, which frees their memory.
    pub fn sweep(&self) {
        let idle = self.idle_limit();
        self.versions().iter().for_each(|version| version.sweep(idle));
    }

    /// The versions that take calls.
    fn versions(&self) -> Vec<Arc<Version>> {
        let serving = self.serving.read();
        let canary = serving.canary.iter().map(|(version, _)| version);
        [&serving.active].into_iter().chain(canary).cloned().collect()
    }

    pub(super) fn error(&self, failure: Failure, detail: impl std::fmt::Display) -> CallError {
        self.failures.count(failure.key());
        CallError::new(&self.component, failure, self.shown(failure, &detail))
    }

    /// An instance of `version` for one call: an idle one, a new one, or, when all allowed instances are busy, the next
    /// free one.
    pub(super) async fn lease(self: &Arc<Self>, version: InUse, call: CallContext) -> Result<Lease, CallError> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            // The rare case is boxed, so that it does not enlarge the future of every call.
            Err(_) => Box::pin(self.wait_for_slot(&call)).await?,
        };
        // A recorded or replayed call must not find any state of another call.
        let idle = if call.tape.is_some() { None } else { version.0.take_idle() };
        let mut instance = match idle {
            Some(mut instance) => {
                instance.store.data_mut().begin(call);
                instance
            }
            None => Box::pin(self.instantiate(&version.0, call)).await?,
        };
        instance.uses += 1;
        // The epoch has advanced while the instance was idle, so its slice starts now.
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
        let wait = wait.min(call.remaining());
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
        match tokio::time::timeout(wait, slot).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.error(
                Failure::Overloaded,
                format_args!("no instance was free within {wait:?} (limits `instances`, `wait`)"),
            )),
        }
    }

    async fn instantiate(self: &Arc<Self>, version: &Version, call: CallContext) -> Result<Instance, CallError> {
        let failed = |e: wasmtime::Error| match e.downcast_ref::<Trap>() {
            // The epoch callback interrupts a guest whose deadline has passed.
            Some(Trap::Interrupt) => self.late(),
            Some(_) => self.error(Failure::Trapped, format_args!("while it was instantiated: {e:#}")),
            None => self.error(Failure::Instantiation, format_args!("{e:#}")),
        };
        let compiled = &version.compiled;
        let ctx = Ctx::of_version(version.grants().clone(), call, Some(version.id().number)).map_err(failed)?;
        let mut store = Store::new(compiled.pre.engine(), ctx);
        store.limiter(|ctx| &mut ctx.limits);
        store.set_hostcall_fuel(self.hostcall_fuel());
        store.set_max_component_handles(MAX_HANDLES);
        if let Some(parts) = store.concurrent_resource_table() {
            parts.set_max_capacity(MAX_ASYNC_PARTS);
        }
        store.set_epoch_deadline(1);
        self.fairness.limit_processor_time(&mut store, &self.profiler);
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
        let plain = compiled.plain.map(|index| plain_interface::load(&mut store, &instance, index));
        let plain = plain.transpose().map_err(failed)?;
        Ok(Instance { store, functions, handler, plain, uses: 0, idle_since: Instant::now() })
    }
}

/// An instance on loan. Dropping it drops the instance; [`Lease::give_back`] keeps it for the next call.
pub(super) struct Lease {
    // Dropped before the permit, because the instance must be gone before the next one may be created.
    pub(super) instance: Instance,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
    // Dropped last: a version's calls have ended only when their instances are gone.
    pub(super) version: InUse,
}

impl Lease {
    /// Ends a successful call whose instance may not serve another: output without an end of line goes to the log
    /// before the instance is dropped.
    pub(super) fn finish(mut self) {
        self.end();
    }

    /// Ends a successful call. The instance is kept unless it has served its maximum of calls, or holds something that
    /// the next call must not find (an open transaction).
    pub(super) fn give_back(mut self) {
        let clean = self.end();
        // This order drops the instance before its permit, and the permit before the version's count.
        let Lease { version, _permit, pool: _pool, mut instance } = self;
        if clean && instance.uses < version.0.grants().limits.max_reuse {
            instance.idle_since = Instant::now();
            version.0.keep(instance);
        }
    }

    /// Ends the call; returns whether the instance can be reused.
    fn end(&mut self) -> bool {
        let ctx = self.instance.store.data_mut();
        ctx.slice.release();
        if ctx.limits.take_refused() {
            self.version.0.tally.note_memory();
        }
        ctx.end()
    }
}
