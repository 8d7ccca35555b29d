//! The host's side of every interface that a component may import: one file (or folder) an interface, all of one shape.
//!
//! Each has an `add_to_linker` and reads what the component was granted from [`Grants`] in the store's [`Ctx`].
//! Every component is linked with every binding; a call that was not granted answers with the interface's own
//! `access-denied` (or its equivalent), as in Spin.

pub mod sqlite;

use crate::call::CallContext;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

/// What one component may reach; made at start-up and shared by all its instances.
pub struct Grants {
    /// The component's name, for errors and log lines.
    pub component: Arc<str>,
    /// Variables with their values, templates resolved.
    pub variables: BTreeMap<String, String>,
    /// Databases of `spin:sqlite`, by label.
    pub sqlite: sqlite::Granted,
}

/// The data of every store: the bindings' state of one instance.
pub struct Ctx {
    /// Resources of the guest.
    pub table: ResourceTable,
    /// WASI clocks, random, stdio and environment.
    pub wasi: WasiCtx,
    /// State of `wasi:http`.
    pub http: WasiHttpCtx,
    /// What the component may reach.
    pub grants: Arc<Grants>,
    /// The call that the instance serves now.
    pub call: CallContext,
    /// State of `spin:sqlite`.
    pub sqlite: sqlite::State,
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links every binding.
///
/// # Errors
/// When two bindings define the same name, which is a mistake in the host.
pub fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    sqlite::add_to_linker(linker)?;
    Ok(())
}
