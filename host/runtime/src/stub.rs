//! Stubs for interfaces of WASI and Spin that the host does not have. Tools import everything that their world names,
//! even if the component does not use it (Python's SDK imports 96 interfaces for a hello world). So such an import is
//! no reason to refuse a component: its functions exist, and a call to one traps with the function's name.
//!
//! It creates no stub for a contract that no dependency provides. It also creates none for an interface that the host
//! has, so that a missing function in such an interface is reported at the start.

use souk_bindings::{Ctx, missing_feature};
use wasm_encoder::{ComponentImportSection, ComponentTypeRef, CoreTypeSection, ModuleType};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, ResourceType};
use wasmtime::{Engine, Result, bail};

/// The prefixes of interfaces that the host provides; all others are contracts.
const HOST_NAMESPACES: &[&str] = &["wasi:", "spin:", "fermyon:", "souk:call/"];

/// Whether the host has to provide `interface`.
pub fn is_host_interface(interface: &str) -> bool {
    HOST_NAMESPACES.iter().any(|namespace| interface.starts_with(namespace))
}

/// A resource of an interface that the host does not have; it can never exist.
enum Absent {}

/// The template for instances of `component`, and the names of the host's interfaces that `linker` lacks, which are
/// stubs now.
///
/// # Errors
/// When another import is missing, or has another type.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<Ctx>,
) -> Result<(InstancePre<Ctx>, Vec<String>)> {
    let error = match linker.instantiate_pre(component) {
        Ok(pre) => return Ok((pre, Vec::new())),
        Err(error) => error,
    };
    let missing = missing(engine, component, linker)?;
    if missing.is_empty() {
        return Err(error);
    }
    define(engine, component, linker, &missing)?;
    Ok((linker.instantiate_pre(component)?, missing))
}

/// The host's interfaces that `component` imports and `linker` lacks.
fn missing(engine: &Engine, component: &Component, linker: &Linker<Ctx>) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (name, item) in component.component_type().imports(engine) {
        if let ComponentItem::ComponentInstance(instance) = &item.ty
            && is_host_interface(name)
            && !instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
            && !has(engine, linker, name)?
        {
            missing.push(name.to_owned());
        }
    }
    Ok(missing)
}

/// Whether `linker` has the interface `name`, in this version or one that may stand in for it.
///
/// A linker has no function to ask, so this tries to link a component that imports a module with that name. The error
/// shows whether the linker has an instance there or nothing.
fn has(engine: &Engine, linker: &Linker<Ctx>, name: &str) -> Result<bool> {
    let (mut types, mut imports) = (CoreTypeSection::new(), ComponentImportSection::new());
    types.ty().module(&ModuleType::new());
    imports.import(name, ComponentTypeRef::Module(0));
    let mut probe = wasm_encoder::Component::new();
    probe.section(&types).section(&imports);
    let probe = Component::from_binary(engine, &probe.finish())?;
    match linker.instantiate_pre(&probe) {
        Ok(_) => Ok(true),
        Err(refusal) => Ok(refusal.root_cause().to_string().contains("found instance")),
    }
}

/// Defines the interfaces `missing` in `linker`.
fn define(engine: &Engine, component: &Component, linker: &mut Linker<Ctx>, missing: &[String]) -> Result<()> {
    // An interface may use a resource of an earlier interface, which defines it.
    let mut known = Vec::new();
    for (interface, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let is_missing = missing.iter().any(|name| name == interface);
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(resource) => {
                    if !known.contains(&resource) && is_missing {
                        let absent = ResourceType::host::<Absent>();
                        linker.instance(interface)?.resource(name, absent, |_, _| Ok(()))?;
                    }
                    known.push(resource);
                }
                ComponentItem::ComponentFunc(func) if is_missing => {
                    let function = format!("{interface}#{name}");
                    let mut instance = linker.instance(interface)?;
                    if func.async_() {
                        instance.func_new_concurrent(name, move |_, _, _, _| {
                            let function = function.clone();
                            Box::pin(async move { absent(&function) })
                        })?;
                    } else {
                        instance.func_new(name, move |_, _, _, _| absent(&function))?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The error of a call to a stub.
fn absent(function: &str) -> Result<()> {
    if let Some(feature) = missing_feature(function) {
        bail!("called {function}, and this souk was built without the feature `{feature}`: `--features full` has it");
    }
    bail!("called {function}, an interface that Souk does not have")
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_bindings::Grants;
    use souk_bindings::call::CallContext;
    use souk_bindings::http_client::{Client, Internal, tls_config};
    use souk_bindings::outbound::AllowedHosts;
    use souk_manifest::limits::ComponentLimits;
    use std::sync::Arc;
    use std::time::Duration;
    use wasmtime::Store;

    fn engine() -> Engine {
        let mut config = wasmtime::Config::new();
        config.wasm_component_model_async(true);
        Engine::new(&config).unwrap()
    }

    fn linker(engine: &Engine) -> Linker<Ctx> {
        let mut linker = Linker::new(engine);
        souk_bindings::add_to_linker(&mut linker).unwrap();
        linker
    }

    fn component(engine: &Engine, text: &str) -> Component {
        Component::new(engine, wat::parse_str(text).unwrap()).unwrap()
    }

    /// A component whose exports call functions of missing interfaces, one of each kind.
    const GUEST: &str = r#"(component
        (import "wasi:io/poll@0.2.3" (instance $poll
            (export "pollable" (type (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow 0))))))
        (alias export $poll "pollable" (type $pollable))
        (import "fermyon:spin/llm@2.0.0" (instance $llm
            (export "model" (type (sub resource)))
            (export "[constructor]model" (func (result (own 0))))
            (export "infer" (func (param "n" u32)))))
        (alias export $llm "model" (type $model))
        (import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $nn
            (alias outer 1 $model (type $m)) (export "model" (type (eq $m)))
            (alias outer 1 $pollable (type $p)) (export "pollable" (type (eq $p)))
            (export "wait" (func async (param "on" (borrow 3)) (param "model" (borrow 1))))
            (export "load" (func async))))
        (alias export $llm "infer" (func $infer))
        (alias export $nn "load" (func $load))
        (core func $infer (canon lower (func $infer)))
        (core func $load (canon lower (func $load)))
        (core module $m
            (import "" "infer" (func $infer (param i32)))
            (import "" "load" (func $load))
            (func (export "infer") i32.const 1 call $infer)
            (func (export "load") call $load))
        (core instance $i (instantiate $m (with "" (instance
            (export "infer" (func $infer)) (export "load" (func $load))))))
        (func (export "infer") (canon lift (core func $i "infer")))
        (func (export "load") async (canon lift (core func $i "load"))))"#;

    #[tokio::test]
    async fn interfaces_that_are_missing_are_there_with_their_resources_and_trap_with_the_functions_name() {
        let engine = engine();
        let component = component(&engine, GUEST);
        let (pre, missing) = link(&engine, &component, &mut linker(&engine)).unwrap();
        assert_eq!(missing, ["fermyon:spin/llm@2.0.0", "wasi:nn/graph@0.2.0-rc-2024-10-28"]);
        for (export, function) in
            [("infer", "fermyon:spin/llm@2.0.0#infer"), ("load", "wasi:nn/graph@0.2.0-rc-2024-10-28#load")]
        {
            let client =
                Client::new("web".into(), AllowedHosts::default(), 1, Internal::default(), tls_config().unwrap());
            let grants = Grants::nothing("web".into(), ComponentLimits::default(), Arc::new(client));
            let context = CallContext::new("trace", Duration::from_secs(60));
            let mut store = Store::new(&engine, Ctx::new(Arc::new(grants), context).unwrap());
            let instance = pre.instantiate_async(&mut store).await.unwrap();
            let called = instance.get_typed_func::<(), ()>(&mut store, export).unwrap();
            let trap = format!("{:#}", called.call_async(&mut store, ()).await.unwrap_err());
            assert!(trap.contains(&format!("called {function}, an interface that Souk does not have")), "{trap}");
        }
    }

    #[test]
    fn an_interface_that_the_host_has_is_never_a_stub() {
        let engine = engine();
        for (interface, expected) in [
            ("wasi:clocks/monotonic-clock@0.2.0", true),
            ("wasi:clocks/monotonic-clock@0.2.99", true),
            ("wasi:clocks/monotonic-clock@0.3.0", true),
            ("wasi:clocks/monotonic-clock@0.3.0-rc-2026-03-15", true),
            ("wasi:clocks/monotonic-clock@0.3.0-rc-2025-08-15", false),
            ("wasi:clocks/other@0.2.0", false),
            ("spin:sqlite/sqlite@3.1.0", true),
            ("spin:sqlite/sqlite@3.0.0", true),
            ("spin:sqlite/sqlite@4.0.0", false),
            ("fermyon:spin/llm@2.0.0", false),
        ] {
            assert_eq!(has(&engine, &linker(&engine), interface).unwrap(), expected, "{interface}");
        }
        let unknown = r#"(component (import "wasi:random/random@0.2.0" (instance (export "dice" (func)))))"#;
        let error = link(&engine, &component(&engine, unknown), &mut linker(&engine)).err().unwrap();
        assert!(format!("{error:#}").contains("`dice`"), "{error:#}");
    }

    #[test]
    fn a_contract_that_nothing_answers_is_no_stub() {
        let engine = engine();
        let contract = r#"(component (import "store:products/catalog@1.0.0" (instance (export "list" (func)))))"#;
        assert!(link(&engine, &component(&engine, contract), &mut linker(&engine)).is_err());
    }
}
