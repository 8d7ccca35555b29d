//! When a component fails, the log says where; when it is slow, a profile says which functions take the time.

use crate::harness::App;
use crate::harness::app::texts;
use serde_json::Value;

#[tokio::test]
async fn the_line_of_a_trap_names_the_function_and_the_calls_that_led_to_it() {
    let host = App::alone("rogue").start().await;
    host.client().get("/rogue/boom").await.expect_unavailable();
    let line = host.wait_for_log("component `rogue`: trapped").await;
    let source = include_str!("../guests/rogue/src/lib.rs");
    let at = source.lines().position(|line| line.contains("panic!(\"boom")).unwrap() + 1;
    for part in [
        &*format!("panicked at tests/guests/rogue/src/lib.rs:{at}:9: boom"),
        "wasm trap: wasm `unreachable`",
        "::boom",
        "called by way of front wasi:http/handler > rogue souk-test:rogue/deeds@1.0.0#boom",
    ] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert!(!line.contains("panic_fmt") && !line.contains("std::") && line.len() < 1_000, "{line}");
}

#[tokio::test]
async fn a_profile_has_the_functions_that_a_component_computes_in() {
    let app = App::alone("rogue");
    let host = app.start().await;
    let client = host.client();
    let busy = tokio::spawn(async move { client.get("/rogue/forever").await.expect_unavailable() });
    host.client().get("/other/answer/1").await.expect(200);
    let file = app.path("rogue.json");
    let (out, err) = texts(&app.souk("profile", &["rogue", "--for", "500ms", "--out", file.to_str().unwrap()]).await);
    assert!(out.contains("https://profiler.firefox.com"), "{out}{err}");
    let profile: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let thread = &profile["threads"][0];
    assert!(thread["samples"]["length"].as_u64().unwrap() > 10, "{}", thread["samples"]);
    let names = serde_json::to_string(thread).unwrap() + &profile["shared"].to_string();
    assert!(names.contains("forever"), "{names}");
    busy.await.unwrap();
    for (component, why) in [("calm", "did not compute in this time"), ("nobody", "fix: name one of")] {
        let refused = app.souk("profile", &[component, "--for", "50ms"]).await;
        let (out, err) = texts(&refused);
        assert!(!refused.status.success() && err.contains(why), "{component}: {out}{err}");
    }
}
