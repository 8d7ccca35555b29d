//! The host's side of every interface that a component may import: one file (or folder) an interface, all of one shape.
//!
//! Each has an `add_to_linker` and reads what the component was granted from [`Grants`] in the store's [`Ctx`].
//! Every component is linked with every binding; a call that was not granted answers with the interface's own
//! `access-denied` (or its equivalent), as in Spin.

pub mod call;
pub mod files;
pub mod http_client;
pub mod key_value;
mod memory;
pub mod migrations;
pub mod postgres;
mod rows;
pub mod sqlite;
mod stdio;
mod variables;
mod wasi;

use crate::call::CallContext;
use souk_manifest::limits::ComponentLimits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub use memory::{InstanceLimits, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
pub use stdio::printable;

/// How many resources (HTTP requests, fields, streams, open stores ...) one instance may hold. The table is the host's
/// memory, so a guest that leaks handles traps long before the host notices.
const MAX_RESOURCES: usize = 16_384;

/// What one component may reach; made at start-up and shared by all its instances.
///
/// It has no `Debug`, because variables and environment may hold secrets.
pub struct Grants {
    /// The component's name, for errors and log lines.
    pub component: Arc<str>,
    /// The limits of one instance.
    pub limits: ComponentLimits,
    /// Variables with their values, templates resolved.
    pub variables: BTreeMap<String, String>,
    /// The environment, in the manifest's order.
    pub environment: Vec<(String, String)>,
    /// The folder that [`files::prepare`] made, if the component has files.
    pub files: Option<PathBuf>,
    /// Key-value stores by the label that the component uses.
    pub key_value: BTreeMap<String, Arc<key_value::Store>>,
    /// Databases of `spin:sqlite`, by label.
    pub sqlite: sqlite::Granted,
    /// The PostgreSQL servers that the component may reach, and the pools.
    pub postgres: postgres::Granted,
    /// The component's HTTP client, which holds its allow-list.
    pub http: Arc<http_client::Client>,
}

impl Grants {
    /// A component that may reach nothing but what `http` allows; start-up fills in the rest.
    pub fn nothing(component: Arc<str>, limits: ComponentLimits, http: Arc<http_client::Client>) -> Self {
        Grants {
            component,
            limits,
            variables: BTreeMap::new(),
            environment: Vec::new(),
            files: None,
            key_value: BTreeMap::new(),
            sqlite: BTreeMap::new(),
            postgres: postgres::Granted::default(),
            http,
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
    /// Memory and tables of the instance; for `Store::limiter`.
    pub limits: InstanceLimits,
    hooks: http_client::Hooks,
    stdio: stdio::Stdio,
    key_value_open: usize,
}

impl Ctx {
    /// The state of a new instance of the component that `grants` belongs to, which will serve `call`.
    ///
    /// # Errors
    /// When the folder with the component's files is gone.
    pub fn new(grants: Arc<Grants>, call: CallContext) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let stdio = stdio::Stdio::new(&grants.component, &call.trace);
        Ok(Ctx {
            table,
            wasi: wasi::context(&grants, &stdio)?,
            http: WasiHttpCtx::new(),
            hooks: http_client::Hooks::new(grants.http.clone(), call.clone()),
            limits: InstanceLimits::new(grants.component.clone(), &grants.limits),
            stdio,
            key_value_open: 0,
            sqlite: sqlite::State::default(),
            postgres: postgres::State::default(),
            grants,
            call,
        })
    }

    /// Turns the instance to another call.
    pub fn begin(&mut self, call: CallContext) {
        self.stdio.begin(&call.trace);
        self.hooks.call = call.clone();
        self.call = call;
    }

    /// The call is over: what it printed without an end of line goes to the log now, under its own trace id. Returns
    /// whether the instance may serve another call: not when it holds a transaction of this one.
    pub fn end(&mut self) -> bool {
        self.stdio.flush();
        !self.sqlite.holds_transaction() && !self.postgres.holds_transaction()
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// The bounds of the bindings themselves, which no manifest changes: what, how much, unit. `souk doctor` prints them.
pub fn fixed_limits() -> Vec<(&'static str, u64, &'static str)> {
    let n = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let ms = |value: Duration| u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    vec![
        ("resources of an instance", n(MAX_RESOURCES), "handles"),
        ("sqlite: a database", sqlite::MAX_DATABASE_BYTES, "bytes"),
        ("sqlite: a result", n(sqlite::MAX_RESULT_BYTES), "bytes"),
        ("sqlite: a statement", u64::from(sqlite::MAX_STATEMENT_BYTES.unsigned_abs()), "bytes"),
        ("sqlite: all memory", sqlite::MAX_HEAP_BYTES, "bytes"),
        ("sqlite: connections", n(sqlite::MAX_CONNECTIONS), "an instance"),
        ("sqlite: wait for writer", ms(sqlite::BUSY_TIMEOUT), "milliseconds"),
        ("postgres: connections", n(postgres::MAX_POOL_CONNECTIONS), "an address"),
        ("postgres: all connections", n(postgres::MAX_ALL_CONNECTIONS), "an application"),
        ("postgres: addresses", n(postgres::MAX_POOLS), "an application"),
        ("postgres: connections held", n(postgres::MAX_CONNECTIONS), "an instance"),
        ("postgres: addresses in use", n(postgres::MAX_INSTANCE_ADDRESSES), "an instance"),
        ("postgres: transactions", n(postgres::MAX_TRANSACTIONS), "an instance"),
        ("postgres: wait for one", ms(postgres::POOL_TIMEOUT), "milliseconds"),
        ("postgres: connecting", ms(postgres::CONNECT_TIMEOUT), "milliseconds"),
        ("postgres: idle, then asked", ms(postgres::PING_AFTER), "milliseconds"),
        ("postgres: its answer", ms(postgres::PING_TIMEOUT), "milliseconds"),
        ("postgres: idle connection", ms(postgres::IDLE_TIMEOUT), "milliseconds"),
        ("postgres: prepared", n(postgres::CACHED_STATEMENTS), "a connection"),
        ("postgres: prepared, each", n(postgres::CACHED_STATEMENT_BYTES), "bytes"),
        ("postgres: a statement", n(postgres::MAX_STATEMENT_BYTES), "bytes"),
        ("postgres: a result", n(postgres::MAX_RESULT_BYTES), "bytes"),
        ("postgres: unread stream", ms(postgres::STALL_TIMEOUT), "milliseconds"),
        ("key-value: a key", n(key_value::MAX_KEY_BYTES), "bytes"),
        ("key-value: a value", n(key_value::MAX_VALUE_BYTES), "bytes"),
        ("key-value: a file", key_value::MAX_FILE_BYTES, "bytes"),
        ("key-value: a new bucket", key_value::MAX_BUCKET_BYTES, "bytes"),
        ("key-value: wait for server", ms(key_value::SERVER_TIMEOUT), "milliseconds"),
        ("key-value: wait for leader", ms(key_value::ELECTION_TIMEOUT), "milliseconds"),
        ("key-value: open stores", n(key_value::MAX_OPEN_HANDLES), "an instance"),
        ("postgres: an address", n(souk_manifest::MAX_ADDRESS_BYTES), "bytes"),
        ("postgres: a CA root", n(postgres::MAX_CA_ROOT_BYTES), "bytes"),
    ]
}

/// Links every binding.
///
/// # Errors
/// When two bindings define the same name, which is a mistake in the host.
pub fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    // std of wasm32-wasip2 imports WASI 0.2 even where the component's own contract is 0.3.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    variables::add_to_linker(linker)?;
    key_value::add_to_linker(linker)?;
    sqlite::add_to_linker(linker)?;
    postgres::add_to_linker(linker)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
