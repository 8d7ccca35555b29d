//! A caller holds no permit to compute while its callee runs.

use super::link;
use crate::{Import, Target};
use souk_bindings::boundary::Boundaries;
use souk_bindings::call::CallContext;
use souk_bindings::http_client::{Client, Internal, tls_config};
use souk_bindings::outbound::AllowedHosts;
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use souk_runtime::{Compiled, Fairness, Pool, PoolConfig, VersionConfig, VersionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, StoreContextMut};

/// Exports `f`, which asks the host how many permits there are.
const CALLEE: &str = r#"(component
    (import "permits" (func $permits))
    (core func $lowered (canon lower (func $permits)))
    (core module $m
        (import "" "permits" (func $permits))
        (func (export "f") call $permits))
    (core instance $i (instantiate $m (with "" (instance (export "permits" (func $lowered))))))
    (func $f (canon lift (core func $i "f")))
    (instance $contract (export "f" (func $f)))
    (export "test:slice/contract@1.0.0" (instance $contract)))"#;

/// Exports `run`, which takes the permit, as after a slice of computation, and calls the contract's `f`.
fn caller(kind: &str) -> String {
    format!(
        r#"(component
            (import "test:slice/contract@1.0.0" (instance $contract (export "f" (func {kind}))))
            (import "compute" (func $compute))
            (core func $lowered (canon lower (func $contract "f")))
            (core func $computing (canon lower (func $compute)))
            (core module $m
                (import "" "f" (func $f))
                (import "" "compute" (func $compute))
                (func (export "run") call $compute call $f))
            (core instance $i (instantiate $m
                (with "" (instance (export "f" (func $lowered)) (export "compute" (func $computing))))))
            (func $run async (canon lift (core func $i "run")))
            (instance $own (export "run" (func $run)))
            (export "test:slice/own@1.0.0" (instance $own)))"#
    )
}

fn pool(name: &str, engine: &Engine, component: &Component, linker: &mut Linker<Ctx>) -> Arc<Pool> {
    let compiled = Compiled::link(name.into(), engine, component, linker).unwrap();
    let client = Client::new(name.into(), AllowedHosts::default(), 1, Internal::default(), tls_config().unwrap());
    let limits = ComponentLimits::default();
    let grants = Arc::new(Grants::nothing(name.into(), limits.clone(), Arc::new(client)));
    let version = VersionConfig { id: VersionId::first("", ""), compiled, grants };
    Pool::new(PoolConfig { version, limits, fairness: Fairness::new(2), boundaries: Boundaries::off() })
}

#[tokio::test]
async fn a_callers_permit_is_free_while_its_callee_runs() {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let component = |text: &str| Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    for kind in ["", "async"] {
        let (hot, seen) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(usize::MAX)));
        let mut linker = Linker::new(&engine);
        let (of_callee, found) = (hot.clone(), seen.clone());
        linker
            .root()
            .func_wrap("permits", move |_: StoreContextMut<'_, Ctx>, (): ()| {
                found.store(of_callee.available_permits(), Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
        let callee = pool("callee", &engine, &component(CALLEE), &mut linker);
        let (importer, mut linker) = (component(&caller(kind)), Linker::new(&engine));
        let of_caller = hot.clone();
        linker
            .root()
            .func_wrap("compute", move |store: StoreContextMut<'_, Ctx>, (): ()| {
                store.data().slice.hold(of_caller.clone().try_acquire_owned()?);
                Ok(())
            })
            .unwrap();
        let contract = "test:slice/contract@1.0.0";
        let target = Target::Local(&callee);
        let import = Import { engine: &engine, importer: &importer, interface: contract, export: contract, target };
        link(&mut linker, &import, "caller", &callee, &Boundaries::off()).unwrap();
        let caller = pool("caller", &engine, &importer, &mut linker);
        let run = caller.position("test:slice/own@1.0.0", "run").unwrap();
        caller.call(run, &[], CallContext::new("trace", Duration::from_secs(60))).await.unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 1, "an import of kind {kind:?}");
        assert_eq!(hot.available_permits(), 1, "the permit is given back");
    }
}
