//! One version of a component: its code, its instances and what became of its calls.
//!
//! A component has one version that serves, and while a new one is tried out or old calls end, some more. All of them share
//! the component's limits, so the pool counts the instances of all; a version owns those that it has made.

use super::caller::OwnType;
use super::component::Compiled;
use super::handler::Handler;
use super::plain;
use super::recorded;
use super::traced::TracedValues;
use super::trial::Tally;
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

/// Which version of a component it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionId {
    /// Counts the versions of the component, from 1.
    pub number: u64,
    /// The SHA-256 of its file as it was given, in hexadecimal.
    pub digest: Arc<str>,
    /// How measures name it.
    pub label: String,
}

impl VersionId {
    /// The first version of a component, of a file with this digest.
    pub fn first(digest: impl Into<Arc<str>>, label: impl Into<String>) -> Self {
        VersionId { number: 1, digest: digest.into(), label: label.into() }
    }
}

/// What a version is made from.
pub struct VersionConfig {
    /// Which it is.
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
    pub(super) plain: Option<plain::Handle>,
    pub(super) uses: u64,
    pub(super) idle_since: Instant,
}

/// One version of a component.
pub struct Version {
    id: VersionId,
    pub(super) compiled: Compiled,
    grants: Arc<Grants>,
    /// Where the functions of the component's table are in this version; `None` where it has no such function.
    positions: Vec<Option<usize>>,
    /// The most recently used last, so that a quiet component needs few instances.
    idle: Mutex<Vec<Instance>>,
    busy: AtomicUsize,
    /// It takes no more calls, and keeps no instance.
    retired: AtomicBool,
    /// Told when a retired version has ended its last call.
    pub(super) drained: Notify,
    /// The types of its functions, in the order of [`Compiled::exported`].
    pub(super) types: Vec<OwnType>,
    /// Calls of its functions, in the same order.
    pub(super) calls: Vec<Boundary>,
    /// Its functions in the path of a call, in the same order.
    pub(super) steps: Vec<Step>,
    /// HTTP requests in it.
    pub(super) http_step: Step,
    /// What traces have of its functions' values, in the same order; empty where they have nothing.
    pub(super) values: Vec<TracedValues>,
    /// What writes the values of its functions to recordings, in the same order; empty where nobody records it.
    pub(super) codecs: Vec<Option<Arc<FunctionCodec>>>,
    /// HTTP requests that it answers.
    pub(super) requests: Boundary,
    /// What became of its calls, while it is compared with another version.
    pub(super) tally: Tally,
}

impl Version {
    /// The version, whose functions the component knows by their places in `table`.
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
            codecs: if grants.recorder.is_some() { recorded::codecs(&compiled) } else { Vec::new() },
            requests: boundaries.calls(name, &id.label, "wasi:http/handler#handle"),
            positions,
            id,
            grants,
            idle: Mutex::new(Vec::new()),
            busy: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            drained: Notify::new(),
            tally: Tally::default(),
            compiled,
        })
    }

    /// Which version it is.
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

    /// What became of its calls since it is compared with another version.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many of its instances serve a call now.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Acquire)
    }

    /// How many of its instances wait for a call.
    pub fn idle(&self) -> usize {
        self.instances().len()
    }

    /// Where the function at this place of the component's table is in this version.
    pub(super) fn position(&self, function: usize) -> Option<usize> {
        self.positions.get(function).copied().flatten()
    }

    /// How many results the function at this place has.
    pub(super) fn results(&self, position: usize) -> usize {
        self.compiled.exported.functions.get(position).map_or(0, |function| function.ty.results().len())
    }

    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// An instance of this version has ended its call, and is gone or kept.
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
        // Asked with the lock held: who retires it empties the list afterwards.
        if !self.is_retired() {
            instances.push(instance);
        }
    }

    /// Whether it takes no more calls.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// It takes no more calls, and gives the memory of its idle instances back. Calls that run go on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        let old = std::mem::take(&mut *self.instances());
        drop(old);
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

    /// Drops the instances that nobody has used for `idle`, and with them their memory.
    pub(super) fn sweep(&self, idle: Duration) {
        let old: Vec<Instance> = {
            let mut instances = self.instances();
            let keep = instances.iter().position(|i| i.idle_since.elapsed() < idle).unwrap_or(instances.len());
            instances.drain(..keep).collect()
        };
        drop(old);
    }
}
