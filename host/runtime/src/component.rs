//! A compiled component: its code, what it exports, and the linked template that instances are made from.

use super::handler::HandlerIndices;
use crate::refusal::refusal;
use souk_bindings::Ctx;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// The export that makes a component an HTTP handler; any patch release of WASI 0.3.0 has this prefix.
const HTTP_HANDLER: &str = "wasi:http/handler@0.3";
/// The same in WASI 0.2.
const HTTP_HANDLER_0_2: &str = "wasi:http/incoming-handler@0.2";

/// How a component's file begins: wasm's magic number, and the version and layer of the component model.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component's code could not be made ready.
#[derive(Debug, Clone)]
pub struct CompileError {
    /// The component.
    pub component: String,
    /// What was wrong.
    pub message: String,
    /// What would fix it.
    pub fix: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component `{}`: {}\n  fix: {}", self.component, self.message, self.fix)
    }
}

impl std::error::Error for CompileError {}

/// A function that a component exports in an interface.
#[derive(Clone)]
pub struct Function {
    /// The interface with its version, as `store:products/catalog@1.0.0`.
    pub interface: String,
    /// The function's name in the interface.
    pub name: String,
    /// Its type.
    pub ty: ComponentFunc,
    /// Where it is in the component.
    pub(super) index: ComponentExportIndex,
}

/// What a component exports.
#[derive(Clone)]
pub struct Exported {
    /// Every function of every exported interface, in the component's order.
    pub functions: Vec<Function>,
    /// Whether it handles HTTP as in WASI 0.3.
    pub http_0_3: bool,
    /// Whether it handles HTTP as in WASI 0.2.
    pub http_0_2: bool,
}

impl Exported {
    /// Reads the exports of `component`.
    pub fn of(engine: &wasmtime::Engine, component: &Component) -> Self {
        let mut exported = Exported { functions: Vec::new(), http_0_3: false, http_0_2: false };
        for (interface, item) in component.component_type().exports(engine) {
            exported.http_0_3 |= interface.starts_with(HTTP_HANDLER);
            exported.http_0_2 |= interface.starts_with(HTTP_HANDLER_0_2);
            let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
            let Some((_, in_interface)) = component.get_export(None, interface) else { continue };
            for (name, item) in instance.exports(engine) {
                let ComponentItem::ComponentFunc(ty) = item.ty else { continue };
                let Some((_, index)) = component.get_export(Some(&in_interface), name) else { continue };
                exported.functions.push(Function { interface: interface.into(), name: name.into(), ty, index });
            }
        }
        exported
    }

    /// Whether it handles HTTP.
    pub fn http(&self) -> bool {
        self.http_0_3 || self.http_0_2
    }

    /// The function `interface#name`.
    pub fn function(&self, interface: &str, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.interface == interface && f.name == name)
    }

    /// The position of `interface#name` among the functions.
    pub fn position(&self, interface: &str, name: &str) -> Option<usize> {
        self.functions.iter().position(|f| f.interface == interface && f.name == name)
    }
}

/// A component that is compiled and linked; instances are made from it.
pub struct Compiled {
    /// The component's name in the manifest.
    pub name: Arc<str>,
    /// What it exports.
    pub exported: Exported,
    pub(super) pre: InstancePre<Ctx>,
    pub(super) handler: Option<HandlerIndices>,
}

impl Compiled {
    /// Compiles the component at `source`, or loads it from the code cache. Blocks for up to a second: run it on a
    /// thread for blocking work.
    ///
    /// # Errors
    /// When the file is missing or is no component.
    pub fn compile(engine: &wasmtime::Engine, name: &str, source: &Path) -> Result<Component, CompileError> {
        let error = |message: String, fix: &str| CompileError { component: name.into(), message, fix: fix.into() };
        let bytes = std::fs::read(source).map_err(|e| {
            error(format!("cannot read {}: {e}", source.display()), "run `souk build` (or `souk up --build`)")
        })?;
        Component::from_binary(engine, &bytes).map_err(|e| {
            let cause = e.root_cause().to_string();
            if bytes.starts_with(COMPONENT) {
                let fix = "build it with fewer parts, or raise its limits `memory` and `table_elements`";
                return error(format!("{} cannot be loaded: {cause}", source.display()), fix);
            }
            let message = format!("{} is not a WebAssembly component: {cause}", source.display());
            error(message, "build it for the target wasm32-wasip2")
        })
    }

    /// Checks every import of `component` against `linker` and makes the template for instances.
    ///
    /// # Errors
    /// When an import is satisfied by nothing.
    pub fn link(
        name: Arc<str>,
        engine: &wasmtime::Engine,
        component: &Component,
        linker: &Linker<Ctx>,
    ) -> Result<Self, CompileError> {
        let error = |e: wasmtime::Error| refusal(&name, engine, component, &e);
        let pre = linker.instantiate_pre(component).map_err(error)?;
        let exported = Exported::of(engine, component);
        // A component that has both is called by the newer one.
        let handler = match (exported.http_0_3, exported.http_0_2) {
            (true, _) => Some(HandlerIndices::wasi_0_3(&pre).map_err(error)?),
            (false, true) => Some(HandlerIndices::wasi_0_2(&pre).map_err(error)?),
            (false, false) => None,
        };
        Ok(Compiled { name, exported, pre, handler })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_found_by_their_interface_with_its_version_and_functions_outside_interfaces_are_left_out() {
        let text = r#"(component
            (core module $m (func (export "f") (param i32) (result i32) local.get 0))
            (core instance $i (instantiate $m))
            (func $f (param "x" u32) (result u32) (canon lift (core func $i "f")))
            (instance $one (export "f" (func $f)) (export "g" (func $f)))
            (instance $two (export "f" (func $f)))
            (export "test:links/numbers@1.0.0" (instance $one))
            (export "test:links/numbers@1.1.0" (instance $two))
            (export "bare" (func $f)))"#;
        let engine = wasmtime::Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let exported = Exported::of(&engine, &component);
        let names: Vec<_> = exported.functions.iter().map(|f| format!("{}#{}", f.interface, f.name)).collect();
        assert_eq!(names, ["test:links/numbers@1.0.0#f", "test:links/numbers@1.0.0#g", "test:links/numbers@1.1.0#f"]);
        assert_eq!(exported.position("test:links/numbers@1.1.0", "f"), Some(2));
        assert_eq!(exported.position("test:links/numbers@1.1.0", "g"), None);
        assert_eq!(exported.position("test:links/numbers", "f"), None);
        assert!(!exported.http());
    }

    #[test]
    fn a_file_that_is_missing_or_no_component_is_named_with_what_to_do() {
        let engine = wasmtime::Engine::default();
        let dir = tempfile::tempdir().unwrap();
        let missing = Compiled::compile(&engine, "web", &dir.path().join("web.wasm")).unwrap_err().to_string();
        assert!(missing.starts_with("component `web`: cannot read") && missing.contains("souk build"), "{missing}");
        let module = dir.path().join("module.wasm");
        std::fs::write(&module, wat::parse_str("(module)").unwrap()).unwrap();
        let wrong = Compiled::compile(&engine, "web", &module).unwrap_err().to_string();
        assert!(wrong.contains("is not a WebAssembly component") && wrong.contains("wasm32-wasip2"), "{wrong}");
    }
}
