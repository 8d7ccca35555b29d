//! What the manifest grants: `allowed_outbound_hosts` lists the hosts, and the components of the same application, that
//! a component may reach. Each component has its own client.

use super::{Client, Internal, InternalDispatch, TlsConfig, tls_config};
use crate::binding::Binding;
use crate::boundary::ComponentBoundaries;
use crate::outbound::AllowedHosts;
use crate::{http_error_code, http_limits};
use souk_manifest::{Component, limits::FixedLimit};
use std::sync::Arc;
use wasmtime::component::Linker;

/// The binding. Handlers import its types too, so an import does not mean that the component sends requests.
pub const BINDING: Binding = Binding {
    name: "outbound",
    interfaces: &["wasi:http/"],
    key: "allowed_outbound_hosts",
    is_missing: Binding::never,
    describe: |component| component.allowed_outbound_hosts.iter().map(ToString::to_string).collect(),
    fixed_limits,
    add_to_linker,
};

fn fixed_limits() -> Vec<FixedLimit> {
    [super::fixed_limits(), http_limits::FIXED_LIMITS.to_vec()].concat()
}

fn add_to_linker(linker: &mut Linker<crate::Ctx>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    http_limits::add_to_linker(linker)?;
    super::add_to_linker(linker)?;
    http_error_code::add_to_linker(linker)
}

/// What the clients of an application share.
#[derive(Clone)]
pub struct Clients {
    internal: Internal,
    tls: Arc<TlsConfig>,
}

impl Clients {
    /// Reads the root certificates that verify servers.
    ///
    /// # Errors
    /// When the TLS library does not support its own defaults.
    pub fn open() -> anyhow::Result<Self> {
        Ok(Clients { internal: Internal::default(), tls: tls_config()? })
    }

    /// Sets the function that dispatches requests between components of the application.
    pub fn set_internal(&self, dispatch: InternalDispatch) {
        self.internal.set(dispatch);
    }

    /// The client of `component`, which may reach `allowed`.
    pub fn grant(
        &self,
        component: &Component,
        allowed: &AllowedHosts,
        boundaries: &ComponentBoundaries,
    ) -> Arc<Client> {
        let (name, requests) = (component.name.as_str().into(), component.limits.outbound_requests);
        let client = Client::new(name, allowed.clone(), requests, self.internal.clone(), self.tls.clone());
        Arc::new(client.crossing(boundaries))
    }
}
