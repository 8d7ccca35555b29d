//! Explains to a component's author why it cannot be linked: the interface with its version, the part that does not
//! fit, and an SDK that would fit.
//!
//! wasmtime's own error describes the internals of the interface and does not know SDKs.

use crate::error::CompileError;
use crate::stub::is_host_interface;
use wasmtime::component::Component;

/// Packages that Souk offers, with their versions.
const OFFERED: &[(&str, &str)] = &[
    ("souk:call", "1.0.0"),
    ("wasi:config", "0.2.0-draft-2024-09-27"),
    ("wasi:http", WASI),
    ("wasi:cli", WASI),
    ("wasi:clocks", WASI),
    ("wasi:filesystem", WASI),
    ("wasi:random", WASI),
    ("wasi:sockets", WASI),
    ("wasi:io", "0.2.x"),
    ("wasi:otel", "0.2.0-rc.2"),
    ("wasi:keyvalue", "0.2.0-draft2"),
    ("spin:key-value", "3.0.0"),
    ("spin:mqtt", "3.0.0"),
    ("spin:mysql", "3.0.0"),
    ("spin:postgres", "4.2.0 and 3.0.0"),
    ("spin:redis", "3.0.0"),
    ("spin:sqlite", "3.1.0"),
    ("spin:variables", "3.0.0"),
    ("fermyon:spin", "2.0.0 (key-value, mqtt, mysql, postgres, redis, sqlite and variables)"),
];

/// The versions of WASI itself.
const WASI: &str = "0.2.x, 0.3.0-rc-2026-03-15 and 0.3.0";

/// The SDKs for these.
const SDK: &str = "for Rust spin-sdk 5, 6 or 7";

/// The refusal of the component `name`, which cannot be linked because of `error`.
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
        Some(import) => explain(import, &text),
        None => {
            (format!("cannot be linked: {text}"), format!("build it against interfaces that Souk has: {}", offered()))
        }
    };
    CompileError { component: name.to_owned(), message, fix }
}

/// What is wrong with the import of `interface`, according to `error`, and the fix.
fn explain(interface: &str, error: &str) -> (String, String) {
    let (path, _) = interface.split_once('@').unwrap_or((interface, ""));
    let package = path.split_once('/').map_or(path, |(package, _)| package);
    let item = error.split_once("instance export `").and_then(|(_, rest)| rest.split_once('`')).map(|(item, _)| item);
    let what = match item {
        Some(item) => format!("imports `{interface}` with its `{item}`"),
        None => format!("imports `{interface}`"),
    };
    if !is_host_interface(interface) {
        let cause = error.rsplit_once(": ").map_or(error, |(_, cause)| cause);
        return (
            format!("{what}, which nothing provides: {cause}"),
            "name a component for it in `dependencies`".into(),
        );
    }
    match OFFERED.iter().find(|(name, _)| *name == package) {
        Some((_, offered)) => (
            format!("{what}, of which Souk has {package}@{offered}, but not in that form"),
            format!("build it with an SDK whose {package} has such a version: {SDK}"),
        ),
        None => (
            format!("{what}, which Souk does not have"),
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
    use crate::stub;
    use wasmtime::component::Linker;

    fn refuse(interface: &str, item: &str) -> String {
        let text = format!(r#"(component (import "{interface}" {item}))"#);
        let mut config = wasmtime::Config::new();
        config.wasm_component_model_async(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut linker = Linker::new(&engine);
        souk_bindings::add_to_linker(&mut linker).unwrap();
        let Err(error) = stub::link(&engine, &component, &mut linker) else { panic!("{interface} is offered") };
        refusal("web", &engine, &component, &error).to_string()
    }

    #[test]
    fn the_package_of_every_interface_of_a_binding_is_offered() {
        for interface in souk_bindings::BINDINGS.iter().flat_map(|binding| binding.interfaces) {
            let package = interface.split('/').next().unwrap_or_default();
            assert!(OFFERED.iter().any(|(offered, _)| *offered == package), "OFFERED lacks {interface}");
        }
    }

    #[test]
    fn an_import_that_does_not_fit_is_named_with_its_version_what_does_not_fit_and_the_sdk_that_does() {
        let function = r#"(instance (export "dice" (func)))"#;
        for (interface, item, fragments) in [
            (
                "wasi:random/random@0.2.0",
                function,
                ["with its `dice`", "Souk has wasi:random@0.2.x, 0.3.0-rc-2026-03-15 and 0.3.0", "spin-sdk 5, 6 or 7"],
            ),
            (
                "spin:sqlite/sqlite@3.1.0",
                r#"(instance (export "open" (func)) (export "connection" (type (sub resource))))"#,
                ["with its `", "Souk has spin:sqlite@3.1.0", "spin-sdk 5, 6 or 7"],
            ),
            (
                "wasi:nn/graph@0.2.0",
                "(func)",
                ["which Souk does not have", "without that interface", "fermyon:spin@2.0.0"],
            ),
            ("shop:stock/stock@1.0.0", function, ["with its `dice`", "which nothing provides", "`dependencies`"]),
        ] {
            let refusal = refuse(interface, item);
            assert!(refusal.starts_with(&format!("component `web`: imports `{interface}`")), "{refusal}");
            assert!(!refusal.contains("resource implementation"), "{refusal}");
            for fragment in fragments {
                assert!(refusal.contains(fragment), "{fragment} is missing: {refusal}");
            }
        }
    }
}
