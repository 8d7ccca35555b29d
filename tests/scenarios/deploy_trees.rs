//! A version that one of several hosts tries out: a whole tree of calls sees one version of the component, on whichever
//! hosts its calls are made, and no call is lost with the host that tries it out.

use super::deploy_hosts::{SECRET, active, souk};
use super::type_changes::HANDLER;
use crate::harness::admin::Api;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, eventually};
use http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Output;

/// `web` calls `callee` by itself, and once more by `middle`, which runs where `callee` runs.
const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "trees", version = "1.0.0" }
    [[trigger.http]]
    route = "/..."
    component = "web"
    [component.web]
    source = "web.wasm"
    [component.web.dependencies]
    "test:deploy/numbers@1.0.0" = { component = "callee" }
    "test:deploy/middle@1.0.0" = { component = "middle" }
    [component.middle]
    source = "middle.wasm"
    dependencies = { "test:deploy/numbers@1.0.0" = { component = "callee" } }
    [component.callee]
    source = "callee.wasm"
"#;

/// Returns its number.
fn callee(number: u32) -> String {
    format!(
        r#"(component
            (core module $m (func (export "f") (param i32) (result i32) i32.const {number}))
            (core instance $i (instantiate $m))
            (func $f (param "x" u32) (result u32) (canon lift (core func $i "f")))
            (instance $numbers (export "f" (func $f)))
            (export "test:deploy/numbers@1.0.0" (instance $numbers)))"#
    )
}

/// Returns the callee's number.
const MIDDLE: &str = r#"(component
    (import "test:deploy/numbers@1.0.0" (instance $numbers (export "f" (func (param "x" u32) (result u32)))))
    (alias export $numbers "f" (func $f))
    (core func $lowered (canon lower (func $f)))
    (core module $m
        (import "" "f" (func $f (param i32) (result i32)))
        (func (export "m") (result i32) (call $f (i32.const 5))))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
    (func $m (result u32) (canon lift (core func $i "m")))
    (instance $middle (export "m" (func $m)))
    (export "test:deploy/middle@1.0.0" (instance $middle)))"#;

/// Returns ten times the callee's number, plus the number that `middle` gets.
fn web() -> String {
    format!(
        r#"(component {HANDLER}
            (import "test:deploy/numbers@1.0.0" (instance $numbers (export "f" (func (param "x" u32) (result u32)))))
            (import "test:deploy/middle@1.0.0" (instance $middle (export "m" (func (result u32)))))
            (alias export $numbers "f" (func $f))
            (alias export $middle "m" (func $m))
            (core func $lowered-f (canon lower (func $f)))
            (core func $lowered-m (canon lower (func $m)))
            (core module $module
                (import "" "f" (func $f (param i32) (result i32)))
                (import "" "m" (func $m (result i32)))
                (func (export "g") (result i32)
                    (i32.add (i32.mul (call $f (i32.const 5)) (i32.const 10)) (call $m))))
            (core instance $i (instantiate $module
                (with "" (instance (export "f" (func $lowered-f)) (export "m" (func $lowered-m))))))
            (func $g (result u32) (canon lift (core func $i "g")))
            (instance $own (export "g" (func $g)))
            (export "test:deploy/own@1.0.0" (instance $own)))"#
    )
}

/// Calls a function without parameters, on the control socket of a host.
async fn called(api: &Api, component: &str, function: &str) -> Option<String> {
    let call = format!(r#"{{"component":"{component}","function":"{function}","arguments":{{}}}}"#);
    let answer = api.send(Method::POST, "/v1/call", &[("content-type", "application/json")], &call).await;
    (answer.status == 200).then(|| answer.text())
}

/// The different answers to 60 calls, none of which may fail.
async fn answers(api: &Api, component: &str, function: &str) -> BTreeSet<String> {
    let mut answers = BTreeSet::new();
    for _ in 0..60 {
        answers.insert(called(api, component, function).await.expect("an answer"));
    }
    answers
}

fn of(numbers: &[u32]) -> BTreeSet<String> {
    numbers.iter().map(|number| format!(r#"{{"ok":{number}}}"#)).collect()
}

/// The same component with other bytes, and with `more` in it.
fn with(component: &str, more: &str) -> String {
    component.replacen("(component", &format!("(component {more}"), 1)
}

/// How many versions of a component a host knows.
async fn known_versions(app: &App, state: &str, component: &str) -> usize {
    let all: Vec<Value> = serde_json::from_str(&souk(app, state, "versions", &[component, "--json"]).await).unwrap();
    all.len()
}

/// Tries out a component's file at a host.
async fn try_out(app: &App, state: &str, (component, file): (&str, &str)) -> Output {
    let file = app.path(file).to_str().unwrap().to_owned();
    app.souk_at(state, "deploy", &[component, &file, "--canary", "50%", "--for", "1h"]).await
}

fn application(nats: &Nats) -> App {
    App::inline(MANIFEST)
        .component("web.wasm", &web())
        .component("middle.wasm", MIDDLE)
        .component("callee.wasm", &callee(1))
        .component("new.wasm", &callee(2))
        .file("runtime-config.toml", format!("[nats]\nservers = [\"{}\"]\ncluster_secret = \"{SECRET}\"\n", nats.url()))
}

#[tokio::test]
async fn a_tree_of_calls_over_three_hosts_sees_one_version_also_after_the_host_that_tries_it_out_was_killed() {
    let nats = Nats::start();
    let app = application(&nats);
    let both = ["--only", "middle,callee"];
    let one = app.start_at("127.0.0.1:0", "one", &both).await;
    let _two = app.start_at("127.0.0.1:0", "two", &both).await;
    let _front = app.start_at("127.0.0.1:0", "front", &["--only", "web"]).await;
    let (front, first, second) = (Api::at(&app, "front"), Api::at(&app, "one"), Api::at(&app, "two"));
    let (own, middle) = ("test:deploy/own@1.0.0#g", "test:deploy/middle@1.0.0#m");
    assert_eq!(answers(&front, "web", own).await, of(&[11]));

    let file = app.path("new.wasm").to_str().unwrap().to_owned();
    let canary = ["callee", &file, "--canary", "50%", "--for", "1h", "--max-slowdown", "1000"];
    souk(&app, "one", "deploy", &canary).await;
    // On the way of such a call, `callee` is called from a host without it, from the one that tries it out, and from one
    // with the old version.
    assert_eq!(answers(&front, "web", own).await, of(&[11, 22]));
    // What begins where the old version runs stays there.
    assert_eq!(answers(&second, "middle", middle).await, of(&[1]));
    assert_eq!(answers(&first, "middle", middle).await, of(&[1, 2]));
    let output = app.souk_at("two", "deploy", &canary).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success() && error.contains("is being tried out at another host"), "{out}{error}");
    // Nor is a version of its caller, which would be checked against the old version only.
    let output = app.souk_at("two", "deploy", &["middle"]).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success() && error.contains("of `callee`, which it calls, is being tried"), "{out}{error}");
    // Nor is another component tried out there: what begins there draws no number below the share of the first trial.
    let output = app.souk_at("two", "deploy", &["middle", "--canary", "50%"]).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success() && error.contains("of `callee`, which runs here too, is being"), "{out}{error}");
    assert_eq!(answers(&front, "web", own).await, of(&[11, 22]));

    one.signal("KILL");
    one.wait().await;
    let only_old = Some(r#"{"ok":11}"#.to_owned());
    eventually("NATS knows that the host is gone", async || {
        (called(&front, "web", own).await == only_old).then_some(())
    })
    .await;
    assert_eq!(answers(&front, "web", own).await, of(&[11]));

    // When it is back, its trial has ended, and another host can try the version out.
    let _one = app.start_at("127.0.0.1:0", "one", &both).await;
    eventually("the trial at the other host begins", async || {
        app.souk_at("two", "deploy", &canary).await.status.success().then_some(())
    })
    .await;
    assert_eq!(answers(&front, "web", own).await, of(&[11, 22]));
    assert_eq!(answers(&first, "middle", middle).await, of(&[1]));
}

#[tokio::test]
async fn a_host_that_is_stopped_ends_its_trial_and_another_host_tries_the_version_out() {
    let nats = Nats::start();
    let app = application(&nats);
    let both = ["--only", "middle,callee"];
    let one = app.start_at("127.0.0.1:0", "one", &both).await;
    let _two = app.start_at("127.0.0.1:0", "two", &both).await;
    for (state, host) in [("one", Some(one)), ("two", None)] {
        let output = try_out(&app, state, ("callee", "new.wasm")).await;
        assert!(output.status.success(), "at {state}: {:?}", texts(&output));
        if let Some(host) = host {
            host.stop().await;
        }
    }
}

#[tokio::test]
async fn a_deployment_at_another_host_ends_the_trial_of_a_host_that_does_not_come_back() {
    let nats = Nats::start();
    let app = application(&nats);
    let both = ["--only", "middle,callee"];
    let one = app.start_at("127.0.0.1:0", "one", &both).await;
    let _two = app.start_at("127.0.0.1:0", "two", &both).await;
    let agreed = "version 1 serves here already, and is what all hosts run";
    assert!(souk(&app, "two", "deploy", &["callee"]).await.contains(agreed));
    // Otherwise it would follow that agreement during its trial, and end it.
    one.wait_for_log(agreed).await;
    let file = app.path("new.wasm").to_str().unwrap().to_owned();
    let canary = ["callee", &file, "--canary", "50%", "--for", "1h", "--max-slowdown", "1000"];
    souk(&app, "one", "deploy", &canary).await;
    one.signal("KILL");
    one.wait().await;
    let output = app.souk_at("two", "deploy", &canary).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success() && error.contains("is being tried out at another host"), "{out}{error}");

    // What the refusal says is tried, with the file that serves already.
    let said = souk(&app, "two", "deploy", &["callee"]).await;
    assert!(said.contains("serves here already, and is what all hosts run"), "{said}");
    souk(&app, "two", "deploy", &canary).await;
}

#[tokio::test]
async fn of_two_trials_that_begin_at_one_moment_on_two_hosts_the_second_is_refused_before_anything_of_it_runs() {
    let nats = Nats::start();
    let app = application(&nats).component("new-middle.wasm", &with(MIDDLE, "(core module)"));
    let both = ["--only", "middle,callee"];
    let _one = app.start_at("127.0.0.1:0", "one", &both).await;
    let _two = app.start_at("127.0.0.1:0", "two", &both).await;
    let (callee, middle) = (("callee", "new.wasm"), ("middle", "new-middle.wasm"));
    for (at_one, at_two) in [(callee, callee), (callee, middle), (middle, callee)] {
        let before = (known_versions(&app, "one", at_one.0).await, known_versions(&app, "two", at_two.0).await);
        let (first, second) = futures::join!(try_out(&app, "one", at_one), try_out(&app, "two", at_two));
        let both = (texts(&first), texts(&second));
        assert_ne!(first.status.success(), second.status.success(), "{both:?}");
        let ((began, component), (refused, other, known), error) = match first.status.success() {
            true => (("one", at_one.0), ("two", at_two.0, before.1), &both.1.1),
            false => (("two", at_two.0), ("one", at_one.0, before.0), &both.0.1),
        };
        for fragment in ["is being tried out at another host (", "fix: wait for its end, or `souk", component] {
            assert!(error.contains(fragment), "{fragment} is missing: {error}");
        }
        assert_eq!(known_versions(&app, refused, other).await, known, "{both:?}");
        souk(&app, began, "rollback", &[component]).await;
    }
}

#[tokio::test]
async fn a_host_that_waits_to_follow_a_deployment_learns_of_a_trial_before_it_begins() {
    let nats = Nats::start();
    let endless = "(core module $e (func $s (loop $l (br $l))) (start $s)) (core instance (instantiate $e))";
    let app = application(&nats)
        .append("[component.web.tool.souk.limits]\ncall_deadline = \"15s\"\n")
        .component("endless.wasm", &with(&web(), endless))
        .component("new-web.wasm", &with(&web(), "(core module)"));
    let _one = app.start_at("127.0.0.1:0", "one", &["--only", "web,middle,callee"]).await;
    let _front = app.start_at("127.0.0.1:0", "front", &["--only", "web"]).await;
    let front = Api::at(&app, "front");
    let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
    let (endless, new_web, new) = (file("endless.wasm"), file("new-web.wasm"), file("new.wasm"));
    // Until its deadline, this deployment has the turn at that host.
    let arguments = ["web", &endless];
    let busy = app.souk_at("front", "deploy", &arguments);
    let tried_out = async {
        souk(&app, "one", "deploy", &["web", &new_web]).await;
        let canary = ["callee", &new, "--canary", "50%", "--for", "1h", "--max-slowdown", "1000"];
        souk(&app, "one", "deploy", &canary).await;
        assert_eq!(answers(&front, "web", "test:deploy/own@1.0.0#g").await, of(&[11, 22]));
    };
    let (output, ()) = futures::join!(busy, tried_out);
    assert!(!output.status.success(), "{:?}", texts(&output));
    eventually("the host has followed", async || (active(&app, "front").await.0 == 2).then_some(())).await;
}
