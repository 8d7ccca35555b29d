//! The host's side of every interface that a component may import: one file or folder for each interface, all with the
//! same structure.
//!
//! Each binding describes itself with a [`Binding`]. Its function `open` opens it at start-up, its function `grant`
//! returns what a component is granted, and its functions read these grants from [`Grants`] in the store's [`Ctx`].
//! Every component is linked with every binding; a call without a grant fails with the interface's own `access-denied`
//! (or its equivalent), as in Spin.

mod binding;
pub mod boundary;
pub mod budget;
pub mod call;
mod call_context;
mod denials;
mod directories;
pub mod fair;
mod file_streams;
pub mod files;
pub mod framing;
mod full;
pub mod http_client;
mod http_error_code;
mod http_limits;
pub mod key_value;
mod last_words;
mod line_budget;
mod memory;
pub mod migrations;
pub mod moving;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "mysql")]
pub mod mysql;
mod open_files;
pub mod otel;
pub mod outbound;
pub mod pending;
pub mod postgres;
mod producer;
pub mod rdbms_2;
pub mod redis;

pub mod release_candidate;
mod session;
mod slice;
pub mod sqlite;
mod stdio;
pub mod storage;
pub mod tape;
pub mod trace;
pub mod variables;
mod wasi;

use crate::boundary::{ComponentBoundaries, Usage};
use crate::call::CallContext;
pub use crate::denials::Denials;
use souk_manifest::limits::{ComponentLimits, FixedLimit};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub use binding::Binding;
pub use http_limits::MAX_LARGE_HEADERS_BYTES;
pub use line_budget::LineBudget;
pub use memory::{InstanceLimits, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
pub use slice::Slice;
pub use stdio::{Exception, MAX_LINE_BYTES, brief, printable};

souk_manifest::fixed_limits! {
    /// The fixed limits of resources.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most resources (HTTP requests, fields, streams, open stores ...) that one instance holds. They use the
    /// host's memory, so a component that leaks them traps long before the host is short of memory.
    const MAX_RESOURCES: usize = 4_096, "handles";
}

/// Every binding, in the order in which they are linked and described.
pub const BINDINGS: &[Binding] = &[
    sqlite::BINDING,
    postgres::BINDING,
    key_value::BINDING,
    redis::BINDING,
    #[cfg(feature = "mysql")]
    mysql::BINDING,
    #[cfg(feature = "mqtt")]
    mqtt::BINDING,
    http_client::BINDING,
    variables::BINDING,
    call_context::BINDING,
    otel::BINDING,
    wasi::BINDING,
];

/// A binding that is a cargo feature: its name, the prefixes of its interfaces' names, and whether this build has it.
type Feature = (&'static str, &'static [&'static str], bool);
const FEATURES: &[Feature] = &[
    ("mysql", &["spin:mysql/", "fermyon:spin/mysql@"], cfg!(feature = "mysql")),
    ("mqtt", &["spin:mqtt/", "fermyon:spin/mqtt@"], cfg!(feature = "mqtt")),
];

/// The cargo feature that would provide `import` and that this build lacks.
pub fn missing_feature(import: &str) -> Option<&'static str> {
    missing(FEATURES, import)
}

fn missing(features: &[Feature], import: &str) -> Option<&'static str> {
    let answers = |interfaces: &[&str]| interfaces.iter().any(|interface| import.starts_with(interface));
    features.iter().find(|(_, interfaces, is_there)| !is_there && answers(interfaces)).map(|(name, ..)| *name)
}

/// Every fixed limit of the bindings, which `souk doctor` prints.
pub fn fixed_limits() -> Vec<FixedLimit> {
    let shared = [
        FIXED_LIMITS,
        memory::FIXED_LIMITS,
        pending::FIXED_LIMITS,
        call::FIXED_LIMITS,
        call::PATH_LIMITS,
        trace::FIXED_LIMITS,
        trace::SPAN_LIMITS,
        trace::ID_LIMITS,
        trace::STATEMENT_LIMITS,
        tape::FIXED_LIMITS,
        line_budget::FIXED_LIMITS,
        migrations::postgres::FIXED_LIMITS,
        moving::FIXED_LIMITS,
    ];
    [shared.concat(), outbound::fixed_limits(), BINDINGS.iter().flat_map(|binding| (binding.fixed_limits)()).collect()]
        .concat()
}

/// What one component may reach; made at start-up and shared by all its instances.
///
/// It has no `Debug`, because variables and environment may hold secrets.
pub struct Grants {
    /// The component's name, for errors and log lines.
    pub component: Arc<str>,
    /// What the log says that it was refused.
    pub denials: Denials,
    /// The limits of one instance.
    pub limits: ComponentLimits,
    /// Variables with their values, templates resolved.
    pub variables: BTreeMap<String, String>,
    /// The environment, in the manifest's order.
    pub environment: Vec<(String, String)>,
    /// The folder that [`files::grant`] made, if the component has files.
    pub files: Option<PathBuf>,
    /// Key-value stores by the label that the component uses.
    pub key_value: key_value::Granted,
    /// Databases of `spin:sqlite`, by label.
    pub sqlite: sqlite::Granted,
    /// The PostgreSQL servers that the component may reach, and the pools.
    pub postgres: postgres::Granted,
    /// Servers of Redis, MySQL and MQTT that the component may reach.
    pub outbound: outbound::Granted,
    /// The component's HTTP client, which holds its allow-list.
    pub http: Arc<http_client::Client>,
    /// The budgets that it shares with all components of the application.
    pub budget: Arc<budget::ApplicationBudget>,
    /// The boundaries that its calls cross.
    pub boundaries: ComponentBoundaries,
    /// The fields that traces leave out of the arguments of calls into it; `None` if traces have no arguments.
    pub traced_values: Option<Arc<trace::Redaction>>,
    /// The recorder of calls into it; `None` if they are not recorded.
    pub recorder: Option<Arc<tape::Recorder>>,
    /// The resource usage of all its instances.
    pub usage: Arc<Usage>,
    /// Where its metrics and log records for OpenTelemetry go.
    pub telemetry: otel::GuestTelemetry,
    /// How many bytes the component may print to the log in a second.
    pub output: Arc<LineBudget>,
    /// The values that the log leaves out of the component's texts.
    pub hidden: trace::SharedRedaction,
}

impl Grants {
    /// The grants of a component that may only reach what `http` allows; start-up adds the rest.
    pub fn nothing(component: Arc<str>, limits: ComponentLimits, http: Arc<http_client::Client>) -> Self {
        Grants {
            denials: Denials::new(&component),
            component,
            limits,
            variables: BTreeMap::new(),
            environment: Vec::new(),
            files: None,
            key_value: BTreeMap::new(),
            sqlite: sqlite::Granted::default(),
            postgres: postgres::Granted::default(),
            outbound: outbound::Granted::default(),
            http,
            budget: Arc::default(),
            boundaries: ComponentBoundaries::default(),
            traced_values: None,
            recorder: None,
            usage: Arc::default(),
            telemetry: otel::GuestTelemetry::default(),
            output: LineBudget::new(stdio::MAX_OUTPUT_BYTES),
            hidden: trace::SharedRedaction::default(),
        }
    }
}

/// The data of every store: the bindings' state of one instance.
pub struct Ctx {
    /// Resources of the guest.
    pub table: ResourceTable,
    /// WASI clocks, random, stdio, environment and files.
    pub wasi: WasiCtx,
    /// State of `wasi:http`.
    pub http: WasiHttpCtx,
    /// What the component may reach.
    pub grants: Arc<Grants>,
    /// The call that the instance serves now.
    pub call: CallContext,
    /// State of `spin:sqlite`.
    pub sqlite: sqlite::State,
    /// State of `spin:postgres`.
    pub postgres: postgres::State,
    /// State of `wasi:otel`.
    pub otel: otel::State,
    /// Connections to servers of Redis, MySQL and MQTT.
    pub outbound: outbound::State,
    /// Memory and tables of the instance; for `Store::limiter`.
    pub limits: InstanceLimits,
    /// The instance's slice of processor time.
    pub slice: Slice,
    hooks: http_client::Hooks,
    next: http_client::NextHooks,
    stdio: stdio::Stdio,
    key_value_open: usize,
    pending: pending::Pending,
    directory_reads: directories::DirectoryReads,
    resources: http_limits::ResourceCount,
    open_files: Option<open_files::OpenFiles>,
}

impl Ctx {
    /// The state of a new instance of the component that `grants` belongs to, which will serve `call`.
    ///
    /// # Errors
    /// When the folder with the component's files is gone.
    pub fn new(grants: Arc<Grants>, call: CallContext) -> wasmtime::Result<Self> {
        Ctx::of_version(grants, call, None)
    }

    /// As [`Ctx::new`], for the version of the component with this number, which the log names.
    ///
    /// # Errors
    /// As [`Ctx::new`].
    pub fn of_version(grants: Arc<Grants>, call: CallContext, version: Option<u64>) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let resources = http_limits::ResourceCount::default();
        let stdio = stdio::Stdio::new(&grants, version, &call.trace);
        Ok(Ctx {
            table,
            wasi: wasi::context(&grants, &stdio, call.tape.as_ref())?,
            http: WasiHttpCtx::new(),
            hooks: http_client::Hooks::new(grants.http.clone(), call.clone(), resources.messages()),
            slice: Slice::of(&grants.usage),
            next: http_client::NextHooks::new(grants.http.clone(), call.clone(), resources.messages()),
            limits: InstanceLimits::new(
                grants.component.clone(),
                &grants.limits,
                grants.budget.clone(),
                grants.usage.clone(),
            ),
            stdio,
            key_value_open: 0,
            pending: pending::Pending::new(grants.component.clone(), &grants.limits, grants.budget.clone()),
            directory_reads: directories::DirectoryReads::default(),
            resources,
            open_files: grants
                .files
                .as_ref()
                .map(|_| open_files::OpenFiles::new(grants.component.clone(), grants.budget.clone())),
            sqlite: sqlite::State::default(),
            postgres: postgres::State::default(),
            otel: otel::State::default(),
            outbound: outbound::State::default(),
            grants,
            call,
        })
    }

    /// Prepares the instance for its next call.
    pub fn begin(&mut self, call: CallContext) {
        self.stdio.begin(&call.trace);
        self.otel.end();
        self.hooks.call = call.clone();
        self.next.call = call.clone();
        self.call = call;
    }

    /// The last lines that the guest printed to its standard error in this call, which may say why it failed. Only for
    /// the log and operators: they can contain what callers must not learn.
    pub fn last_words(&self) -> Option<String> {
        self.stdio.last_words()
    }

    /// Reads the exception that the guest has printed in its call, at any later moment. With the same care as
    /// [`Ctx::last_words`].
    pub fn printed_exception(&self) -> impl Fn() -> Option<Exception> + Send + Sync + use<> {
        let stderr = self.stdio.stderr.clone();
        move || stderr.exception()
    }

    /// State of `wasi:http` for a request that goes to the next of a chain of middleware.
    fn http_to_next(&mut self) -> WasiHttpCtxView<'_> {
        self.resources.set_limit(&mut self.table, &mut self.http);
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.next }
    }

    /// Ends the call: output without an end of line goes to the log now, under the call's own trace id. Returns whether
    /// the instance may serve another call: not when it still has a transaction of this one open, or when the call was
    /// recorded.
    pub fn end(&mut self) -> bool {
        self.stdio.flush();
        self.otel.end();
        // State that this call leaves in the instance would be missing in the recording of the next call.
        let used_up = self.call.tape.is_some();
        !used_up
            && !self.sqlite.holds_transaction()
            && !self.postgres.holds_transaction()
            && !self.outbound.may_hold_transaction()
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        if let Some(open_files) = &mut self.open_files {
            open_files.check(&mut self.table);
        }
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.resources.set_limit(&mut self.table, &mut self.http);
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Links every binding.
///
/// # Errors
/// When two bindings define the same name, which is a bug in the host.
pub fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    release_candidate::add_to_linker(linker)?;
    rdbms_2::add_to_linker(linker)?;
    BINDINGS.iter().try_for_each(|binding| (binding.add_to_linker)(linker))
}

#[cfg(test)]
pub(crate) mod tests;
