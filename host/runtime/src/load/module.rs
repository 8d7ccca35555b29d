//! Core modules for wasm32-wasip1, which older tools build: the published adapter connects them to WASI 0.2, and the
//! description of their own interfaces, which wit-bindgen writes into the module, becomes the component's.

use std::fmt;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// The function that only programs export.
const START: &str = "_start";

/// A core module that cannot be converted to a component.
#[derive(Debug)]
pub(crate) struct NotAdapted(String);

impl fmt::Display for NotAdapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The component of the core module `module`.
///
/// # Errors
/// When the module is malformed, or imports something that neither WASI nor its own described interfaces have.
pub(super) fn adapt(module: &[u8]) -> Result<Vec<u8>, NotAdapted> {
    let adapter = match is_program(module) {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            NotAdapted(causes.join(": ").replace('\n', " "))
        })
}

fn is_program(module: &[u8]) -> bool {
    let exports = Parser::new(0).parse_all(module).find_map(|payload| match payload {
        Ok(Payload::ExportSection(exports)) => Some(exports),
        _ => None,
    });
    exports.into_iter().flatten().any(|export| export.is_ok_and(|export| export.name == START))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exported;
    use wasmtime::Engine;
    use wasmtime::component::Component;

    fn adapted(text: &str) -> Result<Component, String> {
        let component = adapt(&wat::parse_str(text).unwrap()).map_err(|error| error.to_string())?;
        Ok(Component::new(&Engine::default(), component).unwrap())
    }

    #[test]
    fn a_module_of_wasi_preview_1_becomes_a_component_of_wasi_0_2() {
        let reactor = r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_initialize"))
            (func (export "use") (drop (call $random (i32.const 0) (i32.const 8)))))"#;
        let component = adapted(reactor).unwrap();
        let engine = component.engine();
        let imports: Vec<_> = component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
        assert!(imports.iter().any(|name| name.starts_with("wasi:random/random@0.2")), "{imports:?}");
        assert!(!Exported::of(engine, &component).http());
    }

    #[test]
    fn a_module_that_is_a_program_exports_its_run() {
        let program = r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 0))))"#;
        let component = adapted(program).unwrap();
        let exported = Exported::of(component.engine(), &component);
        assert!(exported.functions.iter().any(|f| f.interface.starts_with("wasi:cli/run@0.2")));
    }

    #[test]
    fn a_module_with_other_imports_is_refused_by_their_name() {
        let error = adapted(r#"(module (import "env" "magic" (func)))"#).unwrap_err();
        assert!(error.contains("env") && error.contains("magic") && !error.contains('\n'), "{error}");
        let broken = adapt(b"\0asm\x01\0\0\0\x01\xff").unwrap_err().to_string();
        assert!(!broken.is_empty());
    }
}
