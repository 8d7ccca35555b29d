//! Components that are built and served while their sources change.

use super::deploy::{CALLER, exporter};
use crate::harness::App;
use crate::harness::app::texts;

/// A caller and `numbers`, which both are built from `contract.txt` and watched.
fn watched(numbers: &str) -> App {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "watched", version = "1.0.0" }
        [component.caller]
        source = "caller.wasm"
        dependencies = { "test:deploy/numbers@1.0.0" = { component = "numbers" } }
        [component.caller.build]
        command = "cp next-caller.wasm caller.wasm"
        watch = ["contract.txt"]
        [component.numbers]
        source = "numbers.wasm"
        [component.numbers.build]
        command = "cp next-numbers.wasm numbers.wasm"
        watch = ["contract.txt"]
    "#;
    App::inline(manifest)
        .component("next-caller.wasm", CALLER)
        .component("next-numbers.wasm", numbers)
        .file("contract.txt", "f")
        .argument("--watch")
        .argument("--build")
}

#[tokio::test]
async fn a_function_and_its_first_caller_are_served_when_both_are_built_at_once_whichever_is_built_first() {
    let numbers = exporter("u32", "i32");
    let app = watched(&numbers);
    let host = app.start().await;
    let answer = async |app: &App| texts(&app.call("caller", "test:deploy/own#g", None).await).0.trim().to_owned();
    assert_eq!(answer(&app).await, "1");
    host.wait_for_log("watching the sources of 2 components").await;
    // The caller calls `h` now, which only the new `numbers` has. The caller is built first, and is refused.
    let both = numbers.replace(r#"(export "f" (func $f)))"#, r#"(export "f" (func $f)) (export "h" (func $f)))"#);
    let app = app
        .component("next-caller.wasm", &CALLER.replace("\"f\"", "\"h\""))
        .component("next-numbers.wasm", &both.replace("i32.const 1", "i32.const 2"))
        .file("contract.txt", "f and h");
    host.wait_for_log("`caller` serves as before").await;
    host.wait_for_log("served numbers: version 2 serves").await;
    host.wait_for_log("served caller: version 2 serves").await;
    assert_eq!(answer(&app).await, "2");
}

#[tokio::test]
async fn nothing_is_printed_about_a_watched_component_whose_build_changes_nothing() {
    let numbers = exporter("u32", "i32");
    let app = watched(&numbers);
    let host = app.start().await;
    host.wait_for_log("watching the sources of 2 components").await;
    let _app = app
        .component("next-numbers.wasm", &numbers.replace("i32.const 1", "i32.const 2"))
        .file("contract.txt", "f, which returns another number");
    host.wait_for_log("served numbers: version 2 serves").await;
    // The caller is built first.
    let said: Vec<String> = host.log().into_iter().filter(|line| line.contains("caller")).collect();
    assert!(said.iter().any(|line| line.contains("built caller in")), "{said:?}");
    let is_more = |line: &String| line.ends_with("compiling caller") || line.contains("served caller");
    assert!(!said.iter().any(is_more), "{said:?}");
}
