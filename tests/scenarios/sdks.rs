//! Components that were built with other SDKs and for other targets run unchanged: with a release candidate of WASI
//! 0.3, as a core module, with the crate wstd, and with imports that the host does not have.

use crate::harness::{App, Client, build};
use http::Method;
use std::sync::OnceLock;

fn app() -> App {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build::application("tests/apps/sdks/spin.toml"));
    App::alone("sdks")
}

/// The status and text of a response. It is not checked, because most SDKs set no content type.
async fn ask(client: &Client, method: Method, path: &str, body: &str) -> (u16, String) {
    let response = client.open(method, path).body(body.to_owned()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn components_of_other_sdks_answer_with_the_grants_of_the_manifest() {
    let host = app().start().await;
    let client = host.client();
    let newer = "http://spin-7.spin.internal/spin-7/there";
    for (path, expected) in [
        // The core module comes first, before another component writes to the same store.
        ("/key-value".to_owned(), r#"["one"] false 1 true"#),
        ("/spin-6/world".to_owned(), "Hello from /spin-6/world"),
        ("/spin-6/key-value".to_owned(), "6"),
        ("/spin-6/sqlite".to_owned(), "six!"),
        ("/spin-6/variable?greeting".to_owned(), "hello"),
        (format!("/spin-6/fetch?{newer}"), "Hello from /spin-7/there\n"),
        ("/spin-7/world".to_owned(), "Hello from /spin-7/world\n"),
        ("/wstd/world".to_owned(), "Hello from /wstd/world"),
        ("/wstd/later".to_owned(), "later"),
        (format!("/wstd/fetch?{newer}"), "Hello from /spin-7/there\n"),
        // The core module.
        ("/sqlite".to_owned(), r#"Some((Some(1), Some("one")))"#),
        ("/variable?greeting".to_owned(), "hello"),
        (format!("/fetch?{newer}"), "Hello from /spin-7/there\n"),
    ] {
        assert_eq!(ask(&client, Method::GET, &path, "").await, (200, expected.to_owned()), "{path}");
    }
    for (path, status) in [("/spin-6/echo", 200), ("/wstd/echo", 200), ("/echo", 201)] {
        let body = "ä".repeat(50_000);
        let (answered, text) = ask(&client, Method::POST, path, &body).await;
        assert_eq!(answered, status, "{path}");
        assert!(text == body, "{path}: {} bytes", text.len());
    }
}

#[tokio::test]
async fn missing_imports_are_named_once_and_a_call_to_them_fails_only_its_request() {
    let host = app().start().await;
    let warning = host.wait_for_log("imports what Souk does not have").await;
    assert!(warning.contains("`spin-6`") && warning.contains("fermyon:spin/llm@2.0.0"), "{warning}");
    assert_eq!(host.log_count("imports what Souk does not have"), 1, "only spin-6 imports such an interface");
    let client = host.client();
    let (status, text) = ask(&client, Method::GET, "/spin-6/infer", "").await;
    assert!(status == 500 && !text.contains("llm"), "{status} {text}");
    host.wait_for_log("called fermyon:spin/llm@2.0.0#infer").await;
    assert_eq!(ask(&client, Method::GET, "/spin-6/world", "").await.0, 200);
}

#[tokio::test]
async fn a_component_with_an_interface_in_both_versions_keeps_both_names() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "both", version = "1.0.0" }
        [component.both]
        source = "both.wasm"
    "#;
    let both = r#"(component
        (import "wasi:random/random@0.3.0" (instance $new (export "get-random-u64" (func (result u64)))))
        (import "wasi:random/random@0.3.0-rc-2026-03-15" (instance $old (export "get-random-u64" (func (result u64)))))
        (alias export $new "get-random-u64" (func $new-random))
        (alias export $old "get-random-u64" (func $old-random))
        (core func $new-lowered (canon lower (func $new-random)))
        (core func $old-lowered (canon lower (func $old-random)))
        (core module $m
            (import "" "new" (func $new (result i64)))
            (import "" "old" (func $old (result i64)))
            (func (export "differ") (result i32) (i64.ne (call $new) (call $old))))
        (core instance $i (instantiate $m (with "" (instance
            (export "new" (func $new-lowered)) (export "old" (func $old-lowered))))))
        (func $differ (result bool) (canon lift (core func $i "differ")))
        (instance $numbers (export "differ" (func $differ)))
        (export "test:random/numbers@1.0.0" (instance $numbers)))"#;
    let app = App::inline(manifest).component("both.wasm", both);
    let output = app.call("both", "test:random/numbers#differ", None).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "true", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_module_that_is_no_handler_says_what_it_lacks() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "module", version = "1.0.0" }
        [[trigger.http]]
        route = "/..."
        component = "module"
        [component.module]
        source = "module.wasm"
    "#;
    let program = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 0))))"#;
    for (module, fragments) in [
        (program, ["it exports wasi:cli/run@0.2", "it is a program", "wasi:http/incoming-handler@0.2"]),
        ("(module)", ["it exports no interface", "remove it from the trigger", "wasi:http/incoming-handler@0.2"]),
        (
            r#"(module (import "env" "magic" (func)))"#,
            ["is a core module that cannot be made a component", "magic", "wasm32-wasip2"],
        ),
    ] {
        let refusal = App::inline(manifest).component("module.wasm", module).start_fails().await;
        for fragment in fragments {
            assert!(refusal.contains(fragment), "{fragment} is missing: {refusal}");
        }
    }
}
