//! Does every import have an answer, and every dependency and grant a use? Asked before anything is linked, because the
//! linker's own words name neither the manifest's line nor the component that could answer.

use souk_bindings::BINDINGS;
use souk_manifest::{Application, Component as Declared, Diagnostic};
use souk_runtime::{Exported, is_host_interface};
use std::collections::BTreeMap;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// What a middleware hands a request on by.
const NEXT: &str = "wasi:http/handler@0.3";

/// Checks the imports of `declared` against its dependencies; warns of grants that it seems to miss. Returns imports that
/// nothing answers, and dependencies that name what is not imported.
#[must_use]
pub(super) fn check(
    engine: &wasmtime::Engine,
    application: &Application,
    declared: &Declared,
    codes: &BTreeMap<String, Component>,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let Some(code) = codes.get(&declared.name) else { return mistakes };
    let mut mistake = |line: usize, message: String, fix: String| {
        mistakes.push(application.mistake_at(line, &declared.name, message, fix));
    };
    let component_type = code.component_type();
    let imports: Vec<&str> = component_type.imports(engine).map(|(name, _)| name).collect();
    // An interface whose types alone are used, by another interface, needs nobody to answer it.
    let contracts: Vec<&str> = component_type
        .imports(engine)
        .filter(|(name, import)| !is_host_interface(name) && !is_of_types_alone(engine, &import.ty))
        .map(|(name, _)| name)
        .collect();
    for dependency in &declared.dependencies {
        if !imports.iter().any(|import| dependency.name.covers(import)) {
            let message = format!("has the dependency `{}`, but does not import it", dependency.name);
            let fix = match contracts.as_slice() {
                [] => "it imports no contract: take the dependency away".to_string(),
                some => format!("it imports {}: name that, or take the dependency away", some.join(", ")),
            };
            mistake(dependency.line, message, fix);
        }
    }
    for durable in &declared.durable {
        if !imports.iter().any(|import| durable.name.covers(import)) {
            let message = format!("has `{}` in `durable`, but does not import it", durable.name);
            mistake(durable.line, message, "take it out of `durable`, or name what it imports".to_string());
        }
    }
    for remote in &declared.remote {
        if !imports.iter().any(|import| remote.name.covers(import)) {
            let message = format!("has `{}` in `remote`, but does not import it", remote.name);
            mistake(remote.line, message, "take it out of `remote`, or name what it imports".to_string());
        }
    }
    for pattern in &declared.nest.calls {
        if !imports.iter().any(|import| pattern.interface.covers(import)) {
            let message = format!("calls `{}` by a pattern of Nest, but does not import it", pattern.interface);
            mistake(pattern.line, message, "take the pattern out of `calls`, or name what it imports".into());
        }
    }
    let routes = application.routes.iter();
    let mut middleware = routes.filter(|route| route.middleware.contains(&declared.name));
    if let Some(route) = middleware.next()
        && !imports.iter().any(|import| import.starts_with(NEXT))
    {
        let message = format!("is middleware, but does not import {NEXT}, so no request would pass it");
        let fix = "hand requests on by that import (`spin_sdk::http::next` in Rust), or take it out of `middleware`";
        mistake(route.line, message, fix.to_owned());
    }

    for &import in &contracts {
        let linked = declared.dependencies.iter().any(|dependency| dependency.name.covers(import));
        if linked || declared.nest.calls.iter().any(|pattern| pattern.interface.covers(import)) {
            continue;
        }
        let exporter =
            codes.iter().find(|(_, code)| code.component_type().exports(engine).any(|(name, _)| name == import));
        let fix = match exporter {
            Some((name, _)) => format!(
                "`{name}` exports it: write \"{import}\" = {{ component = \"{name}\" }} under [component.{}.dependencies]",
                declared.name
            ),
            None => format!(
                "no component of the application exports it: add one that does, and name it under [component.{}.dependencies]",
                declared.name
            ),
        };
        mistake(declared.line, format!("imports `{import}`, which nothing answers"), fix);
    }
    match check_async(engine, code, &contracts) {
        Ok(None) => {}
        Ok(Some(warning)) => tracing::warn!("component `{}` {warning}", declared.name),
        Err((what, fix)) => mistake(declared.line, what, fix),
    }
    for binding in BINDINGS.iter().filter(|binding| (binding.is_missing)(declared)) {
        if let Some(import) = imports.iter().find(|import| binding.answers(import)) {
            tracing::warn!(
                "component `{}` imports {import}, but is granted nothing of it: add `{}` if it needs it",
                declared.name,
                binding.key
            );
        }
    }
    mistakes
}

/// Checks that the component can call the `async func`s of the contracts that it imports. A `func` cannot wait for one: the
/// runtime ends such a call by a trap, whatever tool has built the component. Where the host calls the component by its
/// handler of WASI 0.2, which is a `func`, each request would end so; where it calls `func`s of contracts, the component
/// may know better, so there is a warning for the log.
///
/// # Errors
/// What is wrong, and the fix.
fn check_async(
    engine: &wasmtime::Engine,
    code: &Component,
    contracts: &[&str],
) -> Result<Option<String>, (String, String)> {
    let component_type = code.component_type();
    let awaited = contracts.iter().find_map(|contract| {
        let Some(ComponentItem::ComponentInstance(import)) = component_type.get_import(engine, contract).map(|i| i.ty)
        else {
            return None;
        };
        let is_async = |item: &ComponentItem| matches!(item, ComponentItem::ComponentFunc(ty) if ty.async_());
        import.exports(engine).find(|(_, item)| is_async(&item.ty)).map(|(name, _)| format!("{contract}#{name}"))
    });
    let Some(awaited) = awaited else { return Ok(None) };
    let fix = "import the contract with `func` in place of `async func`, under the same name: a link joins the two";
    let exported = Exported::of(engine, code);
    if exported.http_0_2 && !exported.http_0_3 {
        let message = format!(
            "handles HTTP as in WASI 0.2 and imports `{awaited}`, which is an `async func`: each call of it would trap"
        );
        return Err((message, format!("{fix}; or build the handler for WASI 0.3")));
    }
    let only_funcs = !exported.functions.is_empty() && exported.functions.iter().all(|function| !function.ty.async_());
    Ok(only_funcs.then(|| {
        format!(
            "exports nothing but `func`s and imports `{awaited}`, which is an `async func`: a call of it traps, because a \
             `func` cannot wait for one; fix: {fix}; or export an `async func`"
        )
    }))
}

/// Checks that `declared` exports what it says may be called twice. Returns the entries that it does not export.
#[must_use]
pub(super) fn check_idempotent(application: &Application, declared: &Declared, exported: &Exported) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for entry in &declared.idempotent {
        if exported.functions.iter().any(|function| entry.covers(&function.interface, &function.name)) {
            continue;
        }
        let mut offers: Vec<String> =
            exported.functions.iter().map(|f| format!("{}#{}", f.interface, f.name)).collect();
        offers.retain(|function| !is_host_interface(function));
        let fix =
            if offers.is_empty() { "take it out".to_string() } else { format!("name one of {}", offers.join(", ")) };
        let message = format!("has `{entry}` in `idempotent`, but does not export it");
        mistakes.push(application.mistake_at(entry.line, &declared.name, message, fix));
    }
    mistakes
}

fn is_of_types_alone(engine: &wasmtime::Engine, import: &ComponentItem) -> bool {
    let ComponentItem::ComponentInstance(instance) = import else { return false };
    instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
}
