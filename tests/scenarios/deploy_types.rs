//! Deployment of a component whose contract has a new optional field, while the other side of the link still has the
//! old contract.

use super::deploy::{deploy, exporter};
use super::deploy_hosts::{SECRET, STATES, souk};
use crate::harness::App;
use crate::harness::app::texts;
use crate::harness::nats::Nats;

pub(super) const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "gaining", version = "1.0.0" }
    [component.caller]
    source = "caller.wasm"
    dependencies = { "test:deploy/numbers@1.0.0" = { component = "callee" } }
    [component.callee]
    source = "callee.wasm"
"#;

/// A component that exports `f`, which returns a record with `a` and, with `gained`, a `note`.
pub(super) fn callee(gained: bool) -> String {
    let (fields, answer) = match gained {
        true => (r#"(field "a" u32) (field "note" (option u32))"#, 16),
        false => (r#"(field "a" u32)"#, 4),
    };
    format!(
        r#"(component
            (type $r (record {fields}))
            (core module $m
                (memory (export "memory") 1)
                (data (i32.const 16) "\06\00\00\00\01\00\00\00\07\00\00\00")
                (func (export "f") (param i32) (result i32) i32.const {answer}))
            (core instance $i (instantiate $m))
            (func $f (param "x" u32) (result $r) (canon lift (core func $i "f") (memory (core memory $i "memory"))))
            (instance $numbers (export "r" (type $r)) (export "f" (func $f)))
            (export "test:deploy/numbers@1.0.0" (instance $numbers)))"#
    )
}

/// A component that exports `g`, which returns ten times the callee's `a`, plus one if there is a `note`.
pub(super) fn caller(gained: bool) -> String {
    let (fields, core, g) = match gained {
        true => (
            r#"(field "a" u32) (field "note" (option u32))"#,
            "(param i32 i32)",
            "(call $f (i32.const 5) (i32.const 16))
             (i32.add (i32.mul (i32.load (i32.const 16)) (i32.const 10)) (i32.load8_u (i32.const 20)))",
        ),
        false => (r#"(field "a" u32)"#, "(param i32) (result i32)", "(i32.mul (call $f (i32.const 5)) (i32.const 10))"),
    };
    format!(
        r#"(component
            (import "test:deploy/numbers@1.0.0" (instance $numbers
                (type $d (record {fields}))
                (export "r" (type $r (eq $d)))
                (export "f" (func (param "x" u32) (result $r)))))
            (alias export $numbers "f" (func $f))
            (core module $shared (memory (export "memory") 1))
            (core instance $s (instantiate $shared))
            (core func $lowered (canon lower (func $f) (memory (core memory $s "memory"))))
            (core module $m
                (import "" "memory" (memory 1))
                (import "" "f" (func $f {core}))
                (func (export "g") (result i32) {g}))
            (core instance $i (instantiate $m (with "" (instance
                (export "f" (func $lowered)) (export "memory" (memory $s "memory"))))))
            (func $g (result u32) (canon lift (core func $i "g")))
            (instance $own (export "g" (func $g)))
            (export "test:deploy/own@1.0.0" (instance $own)))"#
    )
}

#[tokio::test]
async fn either_side_of_a_link_is_deployed_first_when_what_it_returns_gains_an_optional_field() {
    for callee_first in [true, false] {
        let app = App::inline(MANIFEST)
            .component("caller.wasm", &caller(false))
            .component("callee.wasm", &callee(false))
            .component("new-caller.wasm", &caller(true))
            .component("new-callee.wasm", &callee(true));
        let _host = app.start().await;
        let number = async || {
            let output = app.call("caller", "test:deploy/own#g", Some(serde_json::json!({}))).await;
            let (out, error) = texts(&output);
            assert!(output.status.success(), "{error}");
            out.trim().to_owned()
        };
        let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
        assert_eq!(number().await, "40");
        if callee_first {
            deploy(&app, &["callee", &file("new-callee.wasm")]).await;
            assert_eq!(number().await, "60", "the old caller gets no note");
            deploy(&app, &["caller", &file("new-caller.wasm")]).await;
        } else {
            deploy(&app, &["caller", &file("new-caller.wasm")]).await;
            assert_eq!(number().await, "40", "the old callee returns no note");
            deploy(&app, &["callee", &file("new-callee.wasm")]).await;
        }
        assert_eq!(number().await, "61");
    }
}

#[tokio::test]
async fn a_host_that_is_alone_on_nats_goes_back_from_a_version_with_one_function_more() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "alone", version = "1.0.0" }
        [component.numbers]
        source = "numbers.wasm"
    "#;
    let (nats, numbers) = (Nats::start(), exporter("u32", "i32"));
    let more = numbers.replace(r#"(export "f" (func $f)))"#, r#"(export "f" (func $f)) (export "h" (func $f)))"#);
    let app = App::inline(manifest).component("numbers.wasm", &numbers).component("more.wasm", &more);
    let app = app.argument("--nats").argument(nats.url());
    let _host = app.start().await;
    deploy(&app, &["numbers", app.path("more.wasm").to_str().unwrap()]).await;
    let (out, error) = texts(&app.souk("rollback", &["numbers"]).await);
    assert!(out.contains("version 3 serves"), "no other host could call the function: {out}{error}");
}

#[tokio::test]
async fn a_version_with_one_function_less_is_refused_beside_other_hosts_and_goes_to_all_from_one_that_is_alone() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "beside", version = "1.0.0" }
        [component.numbers]
        source = "numbers.wasm"
    "#;
    let (nats, numbers) = (Nats::start(), exporter("u32", "i32"));
    let more = numbers.replace(r#"(export "f" (func $f)))"#, r#"(export "f" (func $f)) (export "h" (func $f)))"#);
    let config = format!("[nats]\nservers = [\"{}\"]\ncluster_secret = \"{SECRET}\"\n", nats.url());
    let app = App::inline(manifest).component("numbers.wasm", &numbers).component("more.wasm", &more);
    let app = app.file("runtime-config.toml", config);
    let _first = app.start_at("127.0.0.1:0", STATES[0], &[]).await;
    let second = app.start_at("127.0.0.1:0", STATES[1], &[]).await;
    souk(&app, STATES[0], "deploy", &["numbers", app.path("more.wasm").to_str().unwrap()]).await;
    second.wait_for_log("version 2 serves").await;
    let output = app.souk_at(STATES[0], "rollback", &["numbers"]).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success(), "{out}{error}");
    for words in ["#h` is not what it was", "other hosts may call it", "stop the other hosts, deploy while this one"] {
        assert!(error.contains(words), "{words} is missing: {error}");
    }
    // What the refusal says is tried.
    second.stop().await;
    let said = souk(&app, STATES[0], "rollback", &["numbers"]).await;
    assert!(said.contains("version 3 serves"), "{said}");
    let second = app.start_at("127.0.0.1:0", STATES[1], &[]).await;
    second.wait_for_log("numbers: version 3, which the hosts have agreed on").await;
}
