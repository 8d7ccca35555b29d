//! A compiled component: its code, its exports, and the linked template for instances.

use super::error::CompileError;
use super::handler::HandlerIndices;
use crate::refusal::refusal;
use crate::report::symbols::Symbols;
use crate::{plain_interface, stub};
use souk_bindings::{Ctx, missing_feature};
use souk_codec::FunctionCodec;
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// The export that makes a component an HTTP handler, without its patch release.
const HTTP_HANDLER: &str = "wasi:http/handler@0.3.";
/// The export that makes a component an HTTP handler in WASI 0.2.
const HTTP_HANDLER_0_2: &str = "wasi:http/incoming-handler@0.2.";

/// The first bytes of a component's file: wasm's magic number, and the version and layer of the component model.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Whether a file is a component, judged by its first bytes.
pub(crate) fn is_component(file: &[u8]) -> bool {
    file.starts_with(COMPONENT)
}

/// A function that a component exports in an interface.
#[derive(Clone)]
pub struct Function {
    /// The interface with its version, as `store:products/catalog@1.0.0`.
    pub interface: String,
    /// The function's name in the interface.
    pub name: String,
    /// Its type.
    pub ty: ComponentFunc,
    /// Its index in the component.
    pub(super) index: ComponentExportIndex,
}

impl Function {
    /// Whether it answers requests as plain values. Only the host calls such a function; no component can be linked to
    /// it.
    pub fn is_http(&self) -> bool {
        self.interface == plain_interface::INTERFACE
    }
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
            exported.http_0_3 |= is_release(interface, HTTP_HANDLER);
            exported.http_0_2 |= is_release(interface, HTTP_HANDLER_0_2);
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

/// The release of WASI that a component uses.
fn wasi(engine: &wasmtime::Engine, component: &Component) -> Option<&'static str> {
    let ty = component.component_type();
    let names = ty.imports(engine).chain(ty.exports(engine)).map(|(name, _)| name);
    let versions: Vec<&str> = names
        .filter(|name| name.starts_with("wasi:"))
        .filter_map(|name| name.split_once('@'))
        .map(|(_, version)| version)
        .collect();
    ["0.3", "0.2"].into_iter().find(|release| {
        versions.iter().any(|version| version.strip_prefix(release).is_some_and(|patch| patch.starts_with('.')))
    })
}

/// Whether `interface` belongs to `release`, with any patch number; a release candidate has other types and does not
/// count.
fn is_release(interface: &str, release: &str) -> bool {
    interface.strip_prefix(release).is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// A compiled and linked component, from which instances are created. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    /// The component's name in the manifest.
    pub name: Arc<str>,
    /// What it exports.
    pub exported: Exported,
    /// The release of WASI that it uses, `0.2` or `0.3`: the newest among its imports and exports. `None` for a
    /// component without WASI.
    pub wasi: Option<&'static str>,
    /// Its code, with the types of its imports and exports.
    pub code: Component,
    /// The symbols that give its source lines when it fails.
    pub symbols: Option<Arc<Symbols>>,
    pub(super) pre: InstancePre<Ctx>,
    pub(super) handler: Option<HandlerIndices>,
    /// The function that answers requests as plain values, if it has one.
    pub(super) plain: Option<ComponentExportIndex>,
}

impl Compiled {
    /// The same component, with the symbols of `file`, from which it was loaded.
    #[must_use]
    pub fn with_symbols_of(self, file: &Path) -> Self {
        Compiled { symbols: Symbols::of(file), ..self }
    }

    /// The codec of each function's values; `None` if JSON cannot represent them.
    pub(super) fn codecs(&self) -> Vec<Option<Arc<FunctionCodec>>> {
        self.exported.functions.iter().map(|function| FunctionCodec::of(&function.ty).ok().map(Arc::new)).collect()
    }

    /// Checks every import of `component` against `linker` and creates the template for instances. A warning names the
    /// interfaces of WASI and Spin that the host does not have; a call to one traps.
    ///
    /// # Errors
    /// When nothing provides another import.
    pub fn link(
        name: Arc<str>,
        engine: &wasmtime::Engine,
        component: &Component,
        linker: &mut Linker<Ctx>,
    ) -> Result<Self, CompileError> {
        let error = |e: wasmtime::Error| refusal(&name, engine, component, &e);
        let (pre, stubs) = stub::link(engine, component, linker).map_err(error)?;
        if !stubs.is_empty() {
            let named = |stub: &String| match missing_feature(stub) {
                Some(feature) => format!("{stub} (of the feature `{feature}`: `--features full` has it)"),
                None => stub.clone(),
            };
            tracing::warn!(
                "component `{name}` imports what Souk does not have: {}; it runs, and traps where it calls one of them",
                stubs.iter().map(named).collect::<Vec<_>>().join(", ")
            );
        }
        let exported = Exported::of(engine, component);
        // A component with both is called through the newer one.
        let handler = match (exported.http_0_3, exported.http_0_2) {
            (true, _) => Some(HandlerIndices::wasi_0_3(&pre).map_err(error)?),
            (false, true) => Some(HandlerIndices::wasi_0_2(&pre).map_err(error)?),
            (false, false) => None,
        };
        let plain = exported.function(plain_interface::INTERFACE, plain_interface::FUNCTION);
        let plain = plain.filter(|_| handler.is_some());
        if let Some(function) = plain.filter(|function| !plain_interface::fits(&function.ty)) {
            return Err(CompileError {
                component: name.to_string(),
                message: format!("exports {}#{} with another type", function.interface, function.name),
                fix: "build it with the interface of this release: wit/http in Souk's sources".into(),
            });
        }
        let plain = plain.map(|function| function.index);
        let (wasi, code) = (wasi(engine, component), component.clone());
        Ok(Compiled { name, exported, wasi, code, symbols: None, pre, handler, plain })
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
    fn the_newest_wasi_that_a_component_names_is_what_it_speaks() {
        let engine = wasmtime::Engine::default();
        for (imports, expected) in [
            (r#"(import "wasi:io/poll@0.2.3" (instance)) (import "wasi:random/random@0.3.0" (instance))"#, Some("0.3")),
            (r#"(import "wasi:io/poll@0.2.3" (instance)) (import "shop:stock/stock@0.3.0" (instance))"#, Some("0.2")),
            (r#"(import "wasi:io/poll@0.20.3" (instance))"#, None),
            ("", None),
        ] {
            let component = Component::new(&engine, wat::parse_str(format!("(component {imports})")).unwrap()).unwrap();
            assert_eq!(wasi(&engine, &component), expected, "{imports}");
        }
    }

    #[test]
    fn a_handler_is_one_of_a_release() {
        for (interface, expected) in [
            ("wasi:http/handler@0.3.0", true),
            ("wasi:http/handler@0.3.12", true),
            ("wasi:http/handler@0.3.0-rc-2025-08-15", false),
            ("wasi:http/handler@0.30.0", false),
            ("wasi:http/handler@0.3.", false),
        ] {
            assert_eq!(is_release(interface, HTTP_HANDLER), expected, "{interface}");
        }
    }
}
