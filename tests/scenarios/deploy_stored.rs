//! A start with a changed file, while durable messages wait that the version before has accepted: it is refused like a
//! deployment if one of them does not fit, and nothing has changed.

use super::durable::{events, messages};
use crate::harness::app::texts;
use crate::harness::{App, eventually};
use serde_json::json;

const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "stored", version = "1.0.0" }
    [component.caller]
    source = "caller.wasm"
    dependencies = { "test:deploy/events@1.0.0" = { component = "callee" } }
    [component.caller.tool.souk]
    durable = ["test:deploy/events@1.0.0"]
    [component.callee]
    source = "callee.wasm"
"#;

/// A component that accepts messages with these parameters, which are these values in its module.
fn callee(parameters: &str, core: &str) -> String {
    format!(
        r#"(component
            (type $e (variant (case "retry" string) (case "reject" string)))
            (type $result (result (error $e)))
            (core module $m
                (memory (export "memory") 1)
                (func (export "handle") (param {core}) (result i32) i32.const 16))
            (core instance $i (instantiate $m))
            (func $handle {parameters} (result $result)
                (canon lift (core func $i "handle") (memory (core memory $i "memory"))))
            (instance $events (export "error" (type $e)) (export "handle" (func $handle)))
            (export "test:deploy/events@1.0.0" (instance $events)))"#
    )
}

/// A component that exports `g`, which sends a message with one parameter of this type.
fn caller(parameter: &str) -> String {
    format!(
        r#"(component
            (import "test:deploy/events@1.0.0" (instance $events
                (type $d (variant (case "retry" string) (case "reject" string)))
                (export "error" (type $e (eq $d)))
                (export "handle" (func (param "x" {parameter}) (result (result (error $e)))))))
            (alias export $events "handle" (func $handle))
            (core module $shared
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
            (core instance $s (instantiate $shared))
            (core func $lowered (canon lower (func $handle)
                (memory (core memory $s "memory")) (realloc (core func $s "realloc"))))
            (core module $m
                (import "" "memory" (memory 1))
                (import "" "handle" (func $handle (param i32 i32)))
                (func (export "g") (result i32)
                    (call $handle (i32.const 5) (i32.const 16))
                    (i32.load8_u (i32.const 16))))
            (core instance $i (instantiate $m (with "" (instance
                (export "handle" (func $lowered)) (export "memory" (memory $s "memory"))))))
            (func $g (result u32) (canon lift (core func $i "g")))
            (instance $own (export "g" (func $g)))
            (export "test:deploy/own@1.0.0" (instance $own)))"#
    )
}

/// The application after a first start, with one message that waits; returns its id too.
async fn with_a_message() -> (App, String) {
    let app = App::inline(MANIFEST)
        .component("caller.wasm", &caller("u32"))
        .component("callee.wasm", &callee(r#"(param "x" u32)"#, "i32"));
    app.start().await.stop().await;
    // No host runs, so nobody delivers it.
    let output = app.call("caller", "test:deploy/own#g", Some(json!({}))).await;
    let (out, error) = texts(&output);
    assert!(output.status.success() && out.trim() == "0", "{out}{error}");
    let waiting = messages(&app).await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    (app, id)
}

#[tokio::test]
async fn a_changed_file_that_a_stored_message_does_not_fit_is_refused_by_the_start_and_nothing_has_changed() {
    let (app, id) = with_a_message().await;
    let book = app.state().join("versions/callee.json");
    let before = std::fs::read_to_string(&book).unwrap();
    // Both sides of the link have the new type, so that only the message is in the way.
    let app =
        app.component("caller.wasm", &caller("bool")).component("callee.wasm", &callee(r#"(param "x" bool)"#, "i32"));
    let refusal = app.start_fails().await;
    for fragment in [
        "component `callee`",
        &format!("message {id} waits for `test:deploy/events@1.0.0#handle`, and does not fit it any more"),
        "wait until it is delivered, or drop it with `souk events drop`",
        "it would be version 2, because ",
        "nothing was started, and nothing has changed",
        "or start version 1 again: copy ",
    ] {
        assert!(refusal.contains(fragment), "{fragment} is missing: {refusal}");
    }
    assert_eq!(std::fs::read_to_string(&book).unwrap(), before);
    let left = messages(&app).await;
    assert_eq!((left.len(), left[0]["state"].as_str()), (1, Some("pending")), "{left:?}");

    // What the refusal says is tried.
    events(&app, &["drop", &id]).await;
    let host = app.start().await;
    host.wait_for_log("callee: version 2, because its `source` has changed").await;
}

#[tokio::test]
async fn a_changed_file_that_takes_the_stored_messages_starts_and_gets_them() {
    let (app, _) = with_a_message().await;
    let gained = callee(r#"(param "x" u32) (param "note" (option u32))"#, "i32 i32 i32");
    let app = app.component("callee.wasm", &gained);
    let host = app.start().await;
    host.wait_for_log("callee: version 2, because its `source` has changed").await;
    eventually("the message is delivered", async || messages(&app).await.is_empty().then_some(())).await;
}
