//! Checks that every import has a provider, that every dependency names an import, and that the component can call what
//! it imports; it warns of imports without a grant. It runs before linking, because the linker's errors name neither
//! the line of the manifest nor the component that could provide the import.

use souk_bindings::BINDINGS;
use souk_manifest::{Application, Component as Declared, DependencyName, Diagnostic};
use souk_runtime::{Exported, is_host_interface};
use std::collections::BTreeMap;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The import through which a middleware passes a request to the next handler.
const NEXT: &str = "wasi:http/handler@0.3";

/// Checks the imports of `declared` against its dependencies, and warns of grants that seem to be missing. Returns an
/// error for each import without a provider and for each dependency that is not imported.
#[must_use]
pub(super) fn check(
    engine: &wasmtime::Engine,
    application: &Application,
    declared: &Declared,
    components: &BTreeMap<String, Component>,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let Some(component) = components.get(&declared.name) else { return mistakes };
    let mut mistake = |line: usize, message: String, fix: String| {
        mistakes.push(application.mistake_at(line, &declared.name, message, fix));
    };
    let component_type = component.component_type();
    let imports: Vec<&str> = component_type.imports(engine).map(|(name, _)| name).collect();
    // An interface that only provides types to other interfaces needs no provider.
    let contracts: Vec<&str> = component_type
        .imports(engine)
        .filter(|(name, import)| !is_host_interface(name) && !has_only_types(engine, &import.ty))
        .map(|(name, _)| name)
        .collect();
    for dependency in &declared.dependencies {
        if !imports.iter().any(|import| dependency.name.covers(import)) {
            let message = format!("has the dependency `{}`, but does not import it", dependency.name);
            let fix = match contracts.as_slice() {
                [] => "it imports no contract: remove the dependency".to_string(),
                some => format!("it imports {}: name one of these, or remove the dependency", some.join(", ")),
            };
            mistake(dependency.line, message, fix);
        }
    }
    for durable in &declared.durable {
        if !imports.iter().any(|import| durable.name.covers(import)) {
            let message = format!("has `{}` in `durable`, but does not import it", durable.name);
            mistake(durable.line, message, "remove it from `durable`, or name what it imports".to_string());
        }
    }
    for remote in &declared.remote {
        if !imports.iter().any(|import| remote.name.covers(import)) {
            let message = format!("has `{}` in `remote`, but does not import it", remote.name);
            mistake(remote.line, message, "remove it from `remote`, or name what it imports".to_string());
        }
    }
    for pattern in &declared.nest.calls {
        if !imports.iter().any(|import| pattern.interface.covers(import)) {
            let message = format!("has a Nest pattern for `{}` in `calls`, but does not import it", pattern.interface);
            mistake(pattern.line, message, "remove the pattern from `calls`, or name what it imports".into());
        }
    }
    let routes = application.routes.iter();
    let mut middleware = routes.filter(|route| route.middleware.contains(&declared.name));
    if let Some(route) = middleware.next()
        && !imports.iter().any(|import| import.starts_with(NEXT))
    {
        let message = format!("is middleware, but does not import {NEXT}, so no request would pass it");
        let fix =
            "pass requests on through that import (`spin_sdk::http::next` in Rust), or remove it from `middleware`";
        mistake(route.line, message, fix.to_owned());
    }

    for &import in &contracts {
        let linked = declared.dependencies.iter().any(|dependency| dependency.name.covers(import));
        if linked || declared.nest.calls.iter().any(|pattern| pattern.interface.covers(import)) {
            continue;
        }
        let exporter = components
            .iter()
            .find(|(_, component)| component.component_type().exports(engine).any(|(name, _)| name == import))
            .map(|(name, _)| name);
        // A component that is not loaded is known by its `exports`.
        let says = |component: &&Declared| component.exports.iter().any(|export| export.covers(import));
        let exporter = exporter.or_else(|| application.components.values().find(says).map(|component| &component.name));
        let fix = match exporter {
            _ if DependencyName::parse(import).is_err() => {
                "import an interface of a package in its place, `namespace:package/interface@version`: a link joins \
                 nothing else"
                    .to_owned()
            }
            Some(name) => format!(
                "`{name}` exports it: write \"{import}\" = {{ component = \"{name}\" }} under [component.{}.dependencies]",
                declared.name
            ),
            None => format!(
                "no component of the application exports it: add one that does, and name it under [component.{}.dependencies]",
                declared.name
            ),
        };
        mistake(declared.line, format!("imports `{import}`, which nothing provides"), fix);
    }
    match check_async(engine, component, &contracts) {
        Ok(None) => {}
        Ok(Some(warning)) => tracing::warn!("component `{}` {warning}", declared.name),
        Err((what, fix)) => mistake(declared.line, what, fix),
    }
    let refused: Vec<String> = BINDINGS
        .iter()
        .filter(|binding| (binding.is_missing)(declared))
        .filter_map(|binding| {
            let import = imports.iter().find(|import| binding.answers(import))?;
            Some(format!("{import} (`{}`)", binding.key))
        })
        .collect();
    // One line: some SDKs import every interface that there is, whether the component needs it or not.
    if !refused.is_empty() {
        tracing::warn!(
            "component `{}` imports interfaces for which it has no grant, so every call of them is refused; if it needs \
             one, add its key: {}",
            declared.name,
            refused.join(", ")
        );
    }
    mistakes
}

/// Checks that the component can call the `async func`s that it imports. A function that is exported as `func` cannot
/// wait for an `async func`: the runtime traps, whichever tool built the component. A handler of WASI 0.2 is such a
/// `func`, so every request that makes the call would trap: this is an error. A component that exports only `func`s may
/// never make the call, so it gets a warning for the log.
///
/// # Errors
/// What is wrong, and the fix.
fn check_async(
    engine: &wasmtime::Engine,
    component: &Component,
    contracts: &[&str],
) -> Result<Option<String>, (String, String)> {
    let component_type = component.component_type();
    let awaited = contracts.iter().find_map(|contract| {
        let Some(ComponentItem::ComponentInstance(import)) = component_type.get_import(engine, contract).map(|i| i.ty)
        else {
            return None;
        };
        let is_async = |item: &ComponentItem| matches!(item, ComponentItem::ComponentFunc(ty) if ty.async_());
        import.exports(engine).find(|(_, item)| is_async(&item.ty)).map(|(name, _)| format!("{contract}#{name}"))
    });
    let Some(awaited) = awaited else { return Ok(None) };
    let fix = "in the WIT that the component imports, write `func` instead of `async func`, under the same name: a \
               link connects the two";
    let exported = Exported::of(engine, component);
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

/// Checks that `declared` exports every function of its `idempotent` list. Returns an error for each that it does not
/// export.
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
            if offers.is_empty() { "remove it".to_string() } else { format!("name one of {}", offers.join(", ")) };
        let message = format!("has `{entry}` in `idempotent`, but does not export it");
        mistakes.push(application.mistake_at(entry.line, &declared.name, message, fix));
    }
    mistakes
}

fn has_only_types(engine: &wasmtime::Engine, import: &ComponentItem) -> bool {
    let ComponentItem::ComponentInstance(instance) = import else { return false };
    instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
}
