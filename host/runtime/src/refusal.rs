//! Why a component cannot be linked, for the one who built it: the interface with its version, and the SDK that fits.
//!
//! wasmtime's own words begin with the interface, go on about what it is made of, and know nothing of SDKs.

use crate::component::CompileError;
use wasmtime::component::Component;

/// Packages that Souk offers, with their versions.
const OFFERED: &[(&str, &str)] = &[
    ("wasi:config", "0.2.0-draft-2024-09-27"),
    ("wasi:http", "0.3.0 and 0.2.x"),
    ("wasi:cli", "0.3.0 and 0.2.x"),
    ("wasi:clocks", "0.3.0 and 0.2.x"),
    ("wasi:filesystem", "0.3.0 and 0.2.x"),
    ("wasi:random", "0.3.0 and 0.2.x"),
    ("wasi:sockets", "0.3.0 and 0.2.x"),
    ("wasi:io", "0.2.x"),
    ("wasi:keyvalue", "0.2.0-draft2"),
    ("spin:key-value", "3.0.0"),
    ("spin:postgres", "4.2.0"),
    ("spin:sqlite", "3.1.0"),
    ("spin:variables", "3.0.0"),
];

/// The SDK for these.
const SDK: &str = "for Rust spin-sdk 7";

/// The refusal of the component `name`, which `error` has kept from being linked.
pub(crate) fn refusal(
    name: &str,
    engine: &wasmtime::Engine,
    component: &Component,
    error: &wasmtime::Error,
) -> CompileError {
    let text = format!("{error:#}");
    let component_type = component.component_type();
    let refused =
        component_type.imports(engine).map(|(import, _)| import).find(|import| text.contains(&format!("`{import}`")));
    let (message, fix) = match refused {
        Some(import) => explain(import),
        None => {
            (format!("cannot be linked: {text}"), format!("build it against interfaces that Souk has: {}", offered()))
        }
    };
    CompileError { component: name.to_owned(), message, fix }
}

/// What is wrong with the import of `interface`, and what to do.
fn explain(interface: &str) -> (String, String) {
    let (path, _) = interface.split_once('@').unwrap_or((interface, ""));
    let package = path.split_once('/').map_or(path, |(package, _)| package);
    let imports = format!("imports `{interface}`");
    if package == "fermyon:spin" {
        let message =
            format!("{imports}, of which Souk has the interfaces key-value, sqlite and variables @2.0.0 alone");
        return (
            message,
            format!("build it with an SDK for Spin's newer interfaces: {SDK}, or without that interface"),
        );
    }
    match OFFERED.iter().find(|(name, _)| *name == package) {
        Some((_, offered)) => (
            format!(
                "{imports}, of which Souk has {package}@{offered}: other versions, and not all that this one asks for"
            ),
            format!("build it with an SDK whose {package} has such a version: {SDK}"),
        ),
        None => (
            format!("{imports}, which Souk does not have"),
            format!("build it without that interface; Souk has {} ({SDK})", offered()),
        ),
    }
}

fn offered() -> String {
    let all: Vec<String> = OFFERED.iter().map(|(package, version)| format!("{package}@{version}")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Linker;

    fn refuse(interface: &str) -> String {
        let text = format!(r#"(component (import "{interface}" (instance (export "r" (type (sub resource))))))"#);
        let mut config = wasmtime::Config::new();
        config.wasm_component_model_async(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut linker = Linker::new(&engine);
        souk_bindings::add_to_linker(&mut linker).unwrap();
        let Err(error) = linker.instantiate_pre(&component) else { panic!("{interface} is offered") };
        refusal("web", &engine, &component, &error).to_string()
    }

    #[test]
    fn an_interface_that_is_not_offered_is_named_with_its_version_and_the_sdk_that_fits() {
        for (interface, fragments) in [
            ("wasi:http/types@0.2.0-rc-2023-11-10", ["wasi:http@0.3.0 and 0.2.x", "such a version", "spin-sdk 7"]),
            ("fermyon:spin/llm@2.0.0", ["key-value, sqlite and variables", "without that interface", "spin-sdk 7"]),
            ("spin:sqlite/sqlite@2.0.0", ["Souk has spin:sqlite@3.1.0", "such a version", "spin-sdk 7"]),
            (
                "wasi:clocks/monotonic-clock@0.3.0-rc-2025-08-15",
                ["wasi:clocks@0.3.0 and 0.2.x", "such a version", "spin-sdk 7"],
            ),
            (
                "wasi:nn/graph@0.2.0-rc-2024-10-28",
                ["which Souk does not have", "without that interface", "spin:sqlite@3.1.0"],
            ),
        ] {
            let refusal = refuse(interface);
            assert!(refusal.starts_with(&format!("component `web`: imports `{interface}`")), "{refusal}");
            assert!(!refusal.contains("resource implementation"), "{refusal}");
            for fragment in fragments {
                assert!(refusal.contains(fragment), "{fragment} is missing: {refusal}");
            }
        }
    }
}
