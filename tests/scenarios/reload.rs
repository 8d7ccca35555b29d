//! A changed manifest, applied to the running host: changed limits, and components that are removed and added again.

use super::deploy::{MANIFEST, body, version};
use crate::harness::App;
use crate::harness::app::texts;

const OTHER: &str = r#"
    [[trigger.http]]
    route = "/other"
    component = "other"
    [component.other]
    source = "other.wasm"
"#;

async fn reload(app: &App) -> String {
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    out
}

#[tokio::test]
async fn limits_are_applied_to_new_calls_and_limits_that_need_a_restart_are_named() {
    let app = App::inline(MANIFEST).file("web.wasm", version("good-1"));
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/?300").await, (200, "good-1".to_owned()));
    let limits = "memory = \"12MiB\"\ncall_deadline = \"100ms\"\ninstances = 3\n";
    let app = app.replace("memory = \"16MiB\"\n", limits);
    let said = reload(&app).await;
    for line in [
        "applied: component `web`: limit `memory`, limit `call_deadline`",
        "left:    component `web`: limit `instances`: applied by the next start",
    ] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_ne!(body(&client, "/?300").await.0, 200, "its deadline is over");
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
    // The next reload does not list applied changes again, but it lists the ones that are left.
    let said = reload(&app).await;
    assert!(!said.contains("applied: ") && said.contains("left:    component `web`: limit `instances`"), "{said}");
    let app = app.replace("call_deadline = \"100ms\"\ninstances = 3\n", "");
    assert!(reload(&app).await.contains("applied: component `web`: limit `call_deadline`"));
    assert_eq!(body(&client, "/?300").await, (200, "good-1".to_owned()));
    // More memory than the engine was configured for at the start.
    let app = app.replace("memory = \"12MiB\"", "memory = \"512MiB\"");
    let said = reload(&app).await;
    assert!(said.contains("left:    component `web`: limit `memory`"), "{said}");
}

#[tokio::test]
async fn a_component_that_the_manifest_lacks_takes_no_calls_until_it_is_there_again() {
    let app = App::inline(&(MANIFEST.to_owned() + OTHER))
        .file("web.wasm", version("good-1"))
        .file("other.wasm", version("good-2"));
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));

    // With a mistake elsewhere in the manifest, nothing is applied.
    let app = app.replace(OTHER, "[component.broken]\n");
    let output = app.souk("reload", &[]).await;
    assert!(!output.status.success() && texts(&output).1.contains("broken"), "{:?}", texts(&output));
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));

    let app = app.replace("[component.broken]\n", "");
    let said = reload(&app).await;
    for line in [
        "applied: triggers of HTTP",
        "applied: component `other`, which is no longer in the manifest, takes no more calls",
    ] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_eq!(body(&client, "/other").await, (200, "good-1".to_owned()), "another route has it");
    let path = app.path("web.wasm");
    for (command, arguments) in
        [("call", vec!["other", "wasi:http/handler#handle"]), ("deploy", vec!["other", path.to_str().unwrap()])]
    {
        let output = app.souk(command, &arguments).await;
        let error = texts(&output).1;
        assert!(!output.status.success(), "{command}");
        // `souk call` also reads the manifest, so its message may be another one.
        assert!(error.contains("component `other` is gone") || error.contains("`other`"), "{command}: {error}");
    }
    assert!(reload(&app).await.contains("nothing has changed"));

    let app = app.append(OTHER);
    let said = reload(&app).await;
    for line in ["applied: triggers of HTTP", "applied: component `other`, which is in the manifest again, takes calls"]
    {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));
    // A new component, and a route to it, need a restart.
    let app = app.append(&OTHER.replace("other", "new"));
    let said = reload(&app).await;
    assert!(said.contains("left:    component `new`, which is new"), "{said}");
    assert_eq!(body(&client, "/new").await, (200, "good-1".to_owned()));
}
