//! For tests: the pool of a component that is given as WAT text and has no grants.

use souk_bindings::boundary::Boundaries;
use souk_bindings::http_client::{Client, Internal, tls_config};
use souk_bindings::outbound::AllowedHosts;
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use souk_runtime::{Compiled, Fairness, Pool, PoolConfig, VersionConfig, VersionId};
use std::sync::Arc;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

/// The pool of the component `name`, which imports nothing.
pub(crate) fn pool(name: &str, text: &str) -> Arc<Pool> {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    let name: Arc<str> = name.into();
    let compiled = Compiled::link(name.clone(), &engine, &component, &mut Linker::<Ctx>::new(&engine)).unwrap();
    let client = Client::new(name.clone(), AllowedHosts::default(), 1, Internal::default(), tls_config().unwrap());
    let limits = ComponentLimits::default();
    let grants = Arc::new(Grants::nothing(name, limits.clone(), Arc::new(client)));
    let version = VersionConfig { id: VersionId::first("", ""), compiled, grants };
    Pool::new(PoolConfig { version, limits, fairness: Fairness::new(2), boundaries: Boundaries::off() })
}
