//! A caller holds no permit to compute while its callee runs; and bytes that are a whole signature cross as a whole.

use super::link;
use crate::{Import, Target};
use souk_bindings::boundary::Boundaries;
use souk_bindings::budget::{ApplicationBudget, Budget};
use souk_bindings::call::CallContext;
use souk_bindings::http_client::{Client, Internal, tls_config};
use souk_bindings::outbound::AllowedHosts;
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use souk_runtime::{CallerType, Compiled, Fairness, Pool, PoolConfig, VersionConfig, VersionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker, Val};
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
    pool_within(name, engine, component, linker, Arc::default())
}

fn pool_within(
    name: &str,
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<Ctx>,
    budget: Arc<ApplicationBudget>,
) -> Arc<Pool> {
    let compiled = Compiled::link(name.into(), engine, component, linker).unwrap();
    let client = Client::new(name.into(), AllowedHosts::default(), 1, Internal::default(), tls_config().unwrap());
    let limits = ComponentLimits::default();
    let grants = Grants { budget, ..Grants::nothing(name.into(), limits.clone(), Arc::new(client)) };
    let grants = Arc::new(grants);
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
        link(&mut linker, &import, "caller", &callee, &Boundaries::off(), None).unwrap();
        let caller = pool("caller", &engine, &importer, &mut linker);
        let run = caller.position("test:slice/own@1.0.0", "run").unwrap();
        caller.call(run, &[], CallContext::new("trace", Duration::from_secs(60))).await.unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 1, "an import of kind {kind:?}");
        assert_eq!(hot.available_permits(), 1, "the permit is given back");
    }
}

#[tokio::test]
async fn an_answer_that_waits_for_its_caller_counts_as_memory_of_the_application() {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let callee = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 7))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $contract (export "f" (func $f)))
        (export "test:held/contract@1.0.0" (instance $contract)))"#;
    let component = Component::new(&engine, wat::parse_str(callee).unwrap()).unwrap();
    for (memory, fits) in [(size_of::<Val>(), true), (size_of::<Val>() - 1, false)] {
        let budget = Arc::new(ApplicationBudget { memory: Budget::new(memory as u64), ..Default::default() });
        let callee = pool_within("callee", &engine, &component, &mut Linker::new(&engine), budget.clone());
        let position = callee.position("test:held/contract@1.0.0", "f").unwrap();
        let caller = Arc::new(CallerType::of("f", &wit_types::func(&[], Some(&wit_types::Ty::Prim("u32")))).unwrap());
        let context = CallContext::new("trace", Duration::from_secs(60));
        let answer = callee.call_from_spawned(&caller, position, Vec::new(), context).await;
        match fits {
            true => assert_eq!(answer.unwrap(), [Val::U32(7)]),
            false => assert!(answer.unwrap_err().detail.contains("application_memory")),
        }
        assert_eq!(budget.memory.taken(), 0);
    }
}

/// A memory of 16 MiB whose upper half `realloc` hands out.
const MEMORY: &str = r#"(core module $memory
    (memory (export "memory") 256)
    (global $next (mut i32) (i32.const 8388608))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        global.get $next
        (global.set $next (i32.add (global.get $next) (local.get 3)))))
    (core instance $m (instantiate $memory))"#;

#[tokio::test]
async fn bytes_cross_a_link_as_a_whole_where_they_are_a_functions_whole_signature() {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let component = |text: &str| Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    // The last one has a type that crosses value by value, each of them 40 bytes.
    for (param, result, crosses) in [
        ("(list u8)", "(list u8)", true),
        ("(list u8)", "string", true),
        ("string", "(list u8)", true),
        ("string", "string", true),
        ("(list s8)", "(list s8)", false),
    ] {
        let callee = format!(
            r#"(component {MEMORY}
                (core module $f
                    (import "" "memory" (memory 256))
                    (func (export "f") (param i32 i32) (result i32)
                        (i32.store (i32.const 16) (local.get 0))
                        (i32.store (i32.const 20) (local.get 1))
                        i32.const 16))
                (core instance $i (instantiate $f (with "" (instance (export "memory" (memory $m "memory"))))))
                (func $f (param "input" {param}) (result {result})
                    (canon lift (core func $i "f") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
                (instance $contract (export "f" (func $f)))
                (export "test:flat/contract@1.0.0" (instance $contract)))"#
        );
        // It passes so many bytes, and returns how many came back, and the last one of them.
        let caller = format!(
            r#"(component
                (import "test:flat/contract@1.0.0" (instance $contract
                    (export "f" (func (param "input" {param}) (result {result})))))
                {MEMORY}
                (core func $f (canon lower (func $contract "f") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
                (core module $run
                    (import "" "memory" (memory 256))
                    (import "" "f" (func $f (param i32 i32 i32)))
                    (func (export "run") (param i32) (result i64)
                        (memory.fill (i32.const 64) (i32.const 97) (local.get 0))
                        (call $f (i32.const 64) (local.get 0) (i32.const 16))
                        (i64.add
                            (i64.mul (i64.const 1000) (i64.load32_u (i32.const 20)))
                            (i64.load8_u (i32.sub
                                (i32.add (i32.load (i32.const 16)) (i32.load (i32.const 20)))
                                (i32.const 1))))))
                (core instance $i (instantiate $run
                    (with "" (instance (export "memory" (memory $m "memory")) (export "f" (func $f))))))
                (func $run (param "bytes" u32) (result u64) (canon lift (core func $i "run")))
                (instance $own (export "run" (func $run)))
                (export "test:flat/own@1.0.0" (instance $own)))"#
        );
        let callee = pool("callee", &engine, &component(&callee), &mut Linker::new(&engine));
        let (importer, mut linker) = (component(&caller), Linker::new(&engine));
        let contract = "test:flat/contract@1.0.0";
        let target = Target::Local(&callee);
        let import = Import { engine: &engine, importer: &importer, interface: contract, export: contract, target };
        link(&mut linker, &import, "caller", &callee, &Boundaries::off(), None).unwrap();
        let caller = pool("caller", &engine, &importer, &mut linker);
        let run = caller.position("test:flat/own@1.0.0", "run").unwrap();
        let ask = |bytes| {
            let caller = caller.clone();
            async move { caller.call(run, &[Val::U32(bytes)], CallContext::new("trace", Duration::from_secs(60))).await }
        };
        assert_eq!(ask(5).await.unwrap(), [Val::U64(5_097)], "{param} {result}");
        // More than `call_bytes` at 40 bytes each.
        let large = ask(4_000_000).await;
        if crosses {
            assert_eq!(large.unwrap(), [Val::U64(4_000_000_097)], "{param} {result}");
        } else {
            assert!(large.is_err(), "{param}");
        }
    }
}

#[tokio::test]
async fn large_arguments_count_as_memory_of_the_application_while_the_callee_runs() {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let component = |text: &str| Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    // A list of `u8` that is a whole signature crosses as a whole.
    for (result, per_byte) in [("(result (list u8))", 1), ("(result u32)", size_of::<Val>())] {
        let [returned, results] = match per_byte {
            1 => ["(result i32)", "(param i32)"],
            _ => ["(result i32)", ""],
        };
        let callee = format!(
            r#"(component {MEMORY}
                (import "held" (func $held))
                (core func $lowered (canon lower (func $held)))
                (core module $f
                    (import "" "held" (func $held))
                    (func (export "f") (param i32 i32) {returned} call $held i32.const 16))
                (core instance $i (instantiate $f (with "" (instance (export "held" (func $lowered))))))
                (func $f (param "input" (list u8)) {result}
                    (canon lift (core func $i "f") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
                (instance $contract (export "f" (func $f)))
                (export "test:large/contract@1.0.0" (instance $contract)))"#
        );
        let (pass, drop) = if results.is_empty() { ("", "drop") } else { ("(i32.const 16)", "") };
        let answer = if results.is_empty() { "(result i32)" } else { "" };
        let caller = format!(
            r#"(component
                (import "test:large/contract@1.0.0" (instance $contract (export "f" (func (param "input" (list u8)) {result}))))
                {MEMORY}
                (core func $f (canon lower (func $contract "f") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
                (core module $run
                    (import "" "f" (func $f (param i32 i32) {results} {answer}))
                    (func (export "run") (param i32) (call $f (i32.const 64) (local.get 0) {pass}) {drop}))
                (core instance $i (instantiate $run (with "" (instance (export "f" (func $f))))))
                (func $run (param "bytes" u32) (canon lift (core func $i "run")))
                (instance $own (export "run" (func $run)))
                (export "test:large/own@1.0.0" (instance $own)))"#
        );
        let budget = Arc::new(ApplicationBudget { memory: Budget::new(64 << 20), ..Default::default() });
        let held = Arc::new(AtomicUsize::new(0));
        let (seen, all, mut linker) = (held.clone(), budget.clone(), Linker::new(&engine));
        linker
            .root()
            .func_wrap("held", move |_: StoreContextMut<'_, Ctx>, (): ()| {
                seen.store(usize::try_from(all.memory.taken())?, Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
        let callee = pool_within("callee", &engine, &component(&callee), &mut linker, budget.clone());
        let (importer, mut linker) = (component(&caller), Linker::new(&engine));
        let contract = "test:large/contract@1.0.0";
        let target = Target::Local(&callee);
        let import = Import { engine: &engine, importer: &importer, interface: contract, export: contract, target };
        link(&mut linker, &import, "caller", &callee, &Boundaries::off(), None).unwrap();
        let caller = pool_within("caller", &engine, &importer, &mut linker, budget.clone());
        let run = caller.position("test:large/own@1.0.0", "run").unwrap();
        let held_for = async |bytes: u32| {
            let context = CallContext::new("trace", Duration::from_secs(60));
            caller.call(run, &[Val::U32(bytes)], context).await.map(|_| held.load(Ordering::SeqCst))
        };
        let small = held_for(5).await.unwrap();
        let large = held_for(200_000).await.unwrap();
        assert!((200_000 * per_byte..220_000 * per_byte + 20_000).contains(&(large - small)), "{small} {large}");
        assert_eq!(held_for(5).await.unwrap(), small, "given back");
        let rest = budget.hold(budget.memory.limit() - budget.memory.taken() - 100_000).unwrap();
        let error = held_for(200_000).await.unwrap_err().to_string();
        assert!(error.contains("component `caller`") && error.contains("application_memory"), "{error}");
        std::mem::drop(rest);
    }
}
