//! One version of a component: its code, its instances and the outcomes of its calls.
//!
//! A component has one version that serves, and more while a new one is tried out or old calls end. All versions share
//! the component's limits, so the pool counts the instances of all; each version owns its own instances.

use super::background::discard;
use super::caller::{CallerType, OwnType};
use super::component::Compiled;
use super::handler::Handler;
use super::plain_interface;
use super::traced::TracedValues;
use super::trial::OutcomeCounter;
use parking_lot::{Mutex, MutexGuard};
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::Step;
use souk_bindings::{Ctx, Grants};
use souk_codec::FunctionCodec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Func;

/// Identifies a version of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionId {
    /// Counts the versions of the component, from 1.
    pub number: u64,
    /// The SHA-256 of its original file, in hexadecimal.
    pub digest: Arc<str>,
    /// Its name in metrics.
    pub label: String,
}

impl VersionId {
    /// The first version of a component, from a file with this digest.
    pub fn first(digest: impl Into<Arc<str>>, label: impl Into<String>) -> Self {
        VersionId { number: 1, digest: digest.into(), label: label.into() }
    }
}

/// The configuration of a version.
pub struct VersionConfig {
    /// Its id.
    pub id: VersionId,
    /// The linked component.
    pub compiled: Compiled,
    /// What its instances may reach.
    pub grants: Arc<Grants>,
}

/// An instance with its sandbox.
pub(super) struct Instance {
    pub(super) store: Store<Ctx>,
    /// The exported functions, in the order of [`Compiled::exported`].
    pub(super) functions: Vec<Func>,
    pub(super) handler: Option<Handler>,
    pub(super) plain: Option<plain_interface::Handle>,
    pub(super) uses: u64,
    pub(super) idle_since: Instant,
}

/// One version of a component.
pub struct Version {
    id: VersionId,
    pub(super) compiled: Compiled,
    grants: Arc<Grants>,
    /// The position in this version of each function in the component's table; `None` if the version lacks it.
    positions: Vec<Option<usize>>,
    /// Idle instances, the most recently used last, so that a component with few calls needs few instances.
    idle: Mutex<Vec<Instance>>,
    busy: AtomicUsize,
    /// Whether it takes no more calls and keeps no instances.
    retired: AtomicBool,
    /// Notified when a retired version has ended its last call.
    pub(super) drained: Notify,
    /// The types of its functions, in the order of [`Compiled::exported`].
    pub(super) types: Vec<OwnType>,
    /// The boundaries of its functions' calls, in the same order.
    pub(super) calls: Vec<Boundary>,
    /// The steps of its functions in the path of a call, in the same order.
    pub(super) steps: Vec<Step>,
    /// The step of HTTP requests in the path of a call.
    pub(super) http_step: Step,
    /// Writers of its functions' values to traces, in the same order; empty if traces have no values.
    pub(super) values: Vec<TracedValues>,
    /// The codecs that write its functions' values to recordings, in the same order; empty if it is not recorded.
    pub(super) codecs: Vec<Option<Arc<FunctionCodec>>>,
    /// The boundary of HTTP requests that it answers.
    pub(super) requests: Boundary,
    /// The outcomes of its calls, while it is compared with another version.
    pub(super) tally: Arc<OutcomeCounter>,
}

impl Version {
    /// A version; the component refers to its functions by their indices in `table`.
    pub(super) fn new(config: VersionConfig, table: &[(String, String)], boundaries: &Boundaries) -> Arc<Self> {
        let VersionConfig { id, compiled, grants } = config;
        let (name, exported) = (&compiled.name, &compiled.exported);
        let calls = exported.functions.iter();
        let calls = calls.map(|f| boundaries.calls(name, &id.label, &format!("{}#{}", f.interface, f.name)));
        let types = exported.functions.iter().map(|function| OwnType::of(&function.name, &function.ty)).collect();
        let positions = table.iter().map(|(interface, name)| exported.position(interface, name)).collect();
        Arc::new(Version {
            calls: calls.collect(),
            steps: exported.functions.iter().map(|f| Step::new(name, &format!("{}#{}", f.interface, f.name))).collect(),
            http_step: Step::new(name, "wasi:http/handler"),
            types,
            values: TracedValues::of(&compiled, &grants),
            codecs: if grants.recorder.is_some() { compiled.codecs() } else { Vec::new() },
            requests: boundaries.calls(name, &id.label, "wasi:http/handler#handle"),
            positions,
            id,
            grants,
            idle: Mutex::new(Vec::new()),
            busy: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            drained: Notify::new(),
            tally: Arc::default(),
            compiled,
        })
    }

    /// Its id.
    pub fn id(&self) -> &VersionId {
        &self.id
    }

    /// The linked component.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// What its instances may reach.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// The outcomes of its calls since the comparison with another version began.
    pub fn tally(&self) -> &OutcomeCounter {
        &self.tally
    }

    /// The number of its instances that serve a call now.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Acquire)
    }

    /// The number of its instances that wait for a call.
    pub fn idle(&self) -> usize {
        self.instances().len()
    }

    /// The position in this version of the function with this index in the component's table.
    pub(super) fn position(&self, function: usize) -> Option<usize> {
        self.positions.get(function).copied().flatten()
    }

    /// Whether traces or recordings have the values of its calls.
    pub(super) fn keeps_values(&self) -> bool {
        !self.values.is_empty() || !self.codecs.is_empty()
    }

    /// Whether the function at this position has the type that `caller` is built for.
    pub(super) fn has_type_of(&self, position: usize, caller: &CallerType) -> bool {
        self.types.get(position).is_some_and(|own| own.is_of(caller))
    }

    /// The number of results of the function at this position.
    pub(super) fn results(&self, position: usize) -> usize {
        self.compiled.exported.functions.get(position).map_or(0, |function| function.ty.results().len())
    }

    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// Called when an instance of this version has ended its call, and is dropped or kept.
    pub(super) fn end(&self) {
        if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 && self.is_retired() {
            self.drained.notify_waiters();
        }
    }

    fn instances(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.idle.lock()
    }

    /// An instance that waits for a call.
    pub(super) fn take_idle(&self) -> Option<Instance> {
        self.instances().pop()
    }

    /// Keeps an instance for the next call; a retired version keeps none.
    pub(super) fn keep(&self, instance: Instance) {
        let mut instances = self.instances();
        // Checked under the lock, because retiring empties the list afterwards.
        if !self.is_retired() {
            instances.push(instance);
        }
    }

    /// Whether it takes no more calls.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Stops taking calls, and drops its idle instances. Running calls go on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        let old = std::mem::take(&mut *self.instances());
        discard(old);
    }

    /// Takes calls again, after a retirement.
    pub(super) fn serve_again(&self) {
        self.retired.store(false, Ordering::Release);
    }

    /// Waits until a retired version has ended its last call.
    pub async fn drained(&self) {
        loop {
            let told = self.drained.notified();
            if self.busy() == 0 {
                return;
            }
            told.await;
        }
    }

    /// Drops the instances that were not used for `idle`, which frees their memory.
    pub(super) fn sweep(&self, idle: Duration) {
        let old: Vec<Instance> = {
            let mut instances = self.instances();
            let keep = instances.iter().position(|i| i.idle_since.elapsed() < idle).unwrap_or(instances.len());
            instances.drain(..keep).collect()
        };
        discard(old);
    }
}
