//! Durable links in the manifest: which ones the host refuses, and where it shows them.

use crate::harness::App;
use crate::harness::app::texts;

/// `consumer` has a durable link to `provider`'s contract.
fn pair(function: &str) -> App {
    let manifest = r#"spin_manifest_version = 2
[application]
name = "pair"
version = "1.0.0"
[component.consumer]
source = "consumer.wasm"
dependencies = { "souk-test:pair/contract@1.0.0" = { component = "provider" } }
[component.consumer.tool.souk]
durable = ["souk-test:pair/contract@1.0.0"]
[component.provider]
source = "provider.wasm"
"#;
    let (import, export) = function.split_once("---").unwrap();
    App::inline(manifest)
        .component(
            "consumer.wasm",
            &format!(r#"(component (import "souk-test:pair/contract@1.0.0" (instance {import})))"#),
        )
        .component("provider.wasm", export)
}

#[tokio::test]
async fn a_durable_link_of_a_function_that_answers_something_is_refused_with_line_and_fix() {
    let app = pair(
        r#"(export "answer" (func async (param "n" u32) (result u32)))---(component
            (core module $m (func (export "answer") (param i32) (result i32) local.get 0))
            (core instance $i (instantiate $m))
            (func $answer async (param "n" u32) (result u32) (canon lift (core func $i "answer")))
            (instance $contract (export "answer" (func $answer)))
            (export "souk-test:pair/contract@1.0.0" (instance $contract)))"#,
    );
    let message = app.start_fails().await;
    for fragment in
        ["spin.toml:9: ", "component `consumer`", "contract@1.0.0#answer", "fix: ", "retry(string), reject(string)"]
    {
        assert!(message.contains(fragment), "{fragment} is missing:\n{message}");
    }
}

#[tokio::test]
async fn a_durable_link_that_is_no_dependency_or_is_not_imported_is_refused() {
    let message = App::new("durable")
        .replace("durable = [\"souk-test:rogue/events@1.0.0\"]", "durable = [\"souk-test:rogue/event@1.0.0\"]");
    let message = message.start_fails().await;
    for fragment in ["component `sender`", "is not a dependency", "fix: did you mean `souk-test:rogue/events@1.0.0`?"] {
        assert!(message.contains(fragment), "{fragment} is missing:\n{message}");
    }
    // The dependency is the whole package, of which the component imports one interface; `durable` names another one.
    let app = App::new("durable")
        .replace("\"souk-test:rogue/events@1.0.0\" = {", "\"souk-test:rogue\" = {")
        .replace("durable = [\"souk-test:rogue/events@1.0.0\"]", "durable = [\"souk-test:rogue/deeds@1.0.0\"]");
    let message = app.start_fails().await;
    for fragment in ["component `sender`", "souk-test:rogue/deeds@1.0.0", "does not import it", "fix: "] {
        assert!(message.contains(fragment), "{fragment} is missing:\n{message}");
    }
}

#[tokio::test]
async fn doctor_and_the_start_say_which_links_are_durable_and_what_their_limits_are() {
    let app = App::new("durable");
    let (out, err) = texts(&app.souk("doctor", &["--limits"]).await);
    for fragment in [
        "durable   souk-test:rogue/events@1.0.0",
        "durable_bytes",
        "deliveries",
        "delivery_attempts",
        "delivery_backoff_most",
        "The longest arguments, as JSON, of one message",
    ] {
        assert!(out.contains(fragment), "{fragment} is missing:\n{out}\n{err}");
    }
    let host = app.start().await;
    assert_eq!(host.log_count("durable   souk-test:rogue/events@1.0.0"), 1);
}
