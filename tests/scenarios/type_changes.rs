//! Contracts that change while the application runs: a component whose types do not fit never serves, and two releases
//! run side by side.
//!
//! The scenario deploys a few changed components, or as many as `SOUK_TYPE_CHANGES` says.

use super::deploy_types::{callee, caller};
use crate::harness::admin::Api;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Host, Random};
use http::Method;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "changing", version = "1.0.0" }
    [[trigger.http]]
    route = "/..."
    component = "web"
    [component.web]
    source = "web.wasm"
    dependencies = { "test:deploy/numbers@1.0.0" = { component = "callee" } }
    [component.callee]
    source = "callee.wasm"
"#;

/// Adds a handler to a component, so that a route may lead to it. The handler is never called.
pub(super) const HANDLER: &str = r#"
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type $request (sub resource)))
        (export "response-outparam" (type $out (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $out))
    (core module $handler-module (func (export "handle") (param i32 i32)))
    (core instance $handler-instance (instantiate $handler-module))
    (func $handle (param "request" (own $request)) (param "response-out" (own $out))
        (canon lift (core func $handler-instance "handle")))
    (component $shape
        (import "request" (type $request (sub resource)))
        (import "out" (type $out (sub resource)))
        (import "handle" (func $handle (param "request" (own $request)) (param "response-out" (own $out))))
        (export "handle" (func $handle)))
    (instance $handler (instantiate $shape
        (with "request" (type $request)) (with "out" (type $out)) (with "handle" (func $handle))))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler))"#;

/// A component that calls `f` and `g` of the contract, and returns the sum of their results.
fn caller_of_two() -> String {
    format!(
        r#"(component {HANDLER}
            (import "test:deploy/numbers@1.0.0" (instance $numbers
                (export "f" (func (param "x" u32) (result u32)))
                (export "g" (func (param "a" u32) (param "b" u64) (result u32)))))
            (alias export $numbers "f" (func $f))
            (alias export $numbers "g" (func $g))
            (core func $lowered-f (canon lower (func $f)))
            (core func $lowered-g (canon lower (func $g)))
            (core module $m
                (import "" "f" (func $f (param i32) (result i32)))
                (import "" "g" (func $g (param i32 i64) (result i32)))
                (func (export "sum") (result i32)
                    (i32.add (call $f (i32.const 5)) (call $g (i32.const 5) (i64.const 6)))))
            (core instance $i (instantiate $m
                (with "" (instance (export "f" (func $lowered-f)) (export "g" (func $lowered-g))))))
            (func $sum (result u32) (canon lift (core func $i "sum")))
            (instance $own (export "sum" (func $sum)))
            (export "test:deploy/own@1.0.0" (instance $own)))"#
    )
}

/// A function: its name, its parameters with their types, and the type of its result.
type Function = (&'static str, Vec<(&'static str, &'static str)>, &'static str);

/// The contract as a component exports it.
#[derive(Debug, Clone)]
struct World {
    interface: &'static str,
    functions: Vec<Function>,
}

const OTHERS: [&str; 9] = ["u8", "s8", "u16", "s32", "s64", "f32", "f64", "bool", "char"];

impl World {
    fn of_the_caller() -> World {
        let functions = vec![("f", vec![("x", "u32")], "u32"), ("g", vec![("a", "u32"), ("b", "u64")], "u32")];
        World { interface: "test:deploy/numbers@1.0.0", functions }
    }

    /// Changes the contract in one place; returns whether the caller can still call it.
    fn change(&mut self, random: &mut Random) -> bool {
        // Only the first two functions, which the caller uses: changes of added functions do not matter.
        let at = random.below(self.functions.len().min(2));
        let function = &mut self.functions[at];
        match random.below(10) {
            0 => self.interface = "test:deploy/numbers@1.0.1",
            1 => self.interface = "test:deploy/number@1.0.0",
            2 => function.0 = "h",
            3 => drop(self.functions.remove(at)),
            4 => function.2 = OTHERS[random.below(OTHERS.len())],
            5 => {
                let parameter = random.below(function.1.len());
                function.1[parameter].1 = OTHERS[random.below(OTHERS.len())];
            }
            6 => {
                let parameter = random.below(function.1.len());
                let is_gained = function.1[parameter].0 == "gained";
                function.1[parameter].0 = "renamed";
                // The caller knows nothing of that one.
                return is_gained;
            }
            7 => function.1.insert(0, ("demanded", "u32")),
            8 => {
                function.1.push(("gained", "(option u32)"));
                return true;
            }
            _ => {
                self.functions.push(("new", vec![("c", "char")], "bool"));
                return true;
            }
        }
        false
    }

    /// A component whose functions all return `answer`.
    fn component(&self, answer: u32) -> String {
        let core = |ty: &str| match ty {
            "u64" | "s64" => "i64",
            "f32" => "f32",
            "f64" => "f64",
            "(option u32)" => "i32 i32",
            _ => "i32",
        };
        let (mut module, mut lifted, mut exported) = (String::new(), String::new(), String::new());
        for (name, params, result) in &self.functions {
            let flat: String = params.iter().map(|(_, ty)| format!(" {}", core(ty))).collect();
            let result_core = core(result);
            module += &format!(
                r#"(func (export "{name}") (param{flat}) (result {result_core}) {result_core}.const {answer})"#
            );
            let params: String = params.iter().map(|(name, ty)| format!(r#"(param "{name}" {ty})"#)).collect();
            lifted += &format!(r#"(func ${name} {params} (result {result}) (canon lift (core func $i "{name}")))"#);
            exported += &format!(r#"(export "{name}" (func ${name}))"#);
        }
        format!(
            r#"(component (core module $m {module}) (core instance $i (instantiate $m)) {lifted}
                (instance $numbers {exported}) (export "{}" (instance $numbers)))"#,
            self.interface
        )
    }
}

/// Calls a function without parameters, on the control socket of a host.
async fn called(api: &Api, function: &str) -> Option<String> {
    let call = format!(r#"{{"component":"web","function":"test:deploy/own@1.0.0#{function}","arguments":{{}}}}"#);
    let answer = api.send(Method::POST, "/v1/call", &[("content-type", "application/json")], &call).await;
    (answer.status == 200).then(|| answer.text())
}

#[tokio::test]
async fn a_component_whose_contract_was_changed_serves_only_where_its_caller_can_call_it() {
    let count = std::env::var("SOUK_TYPE_CHANGES").map_or(24, |count| count.parse().expect("a number"));
    let app = App::inline(MANIFEST)
        .component("web.wasm", &caller_of_two())
        .component("callee.wasm", &World::of_the_caller().component(1));
    let _host = app.start().await;
    let api = Api::on_socket(&app);
    assert_eq!(called(&api, "sum").await.unwrap(), r#"{"ok":2}"#);
    let (mut random, mut serving, mut fitted) = (Random::new(16), 1, 0);
    for round in 0..count {
        let (mut world, mut fits) = (World::of_the_caller(), true);
        for _ in 0..=random.below(2) {
            // Two functions or parameters with the same name would not be a valid component.
            let mut changed = world.clone();
            let still = changed.change(&mut random);
            let names: BTreeSet<_> = changed.functions.iter().map(|function| function.0).collect();
            let params = |of: &[(&str, &str)]| of.iter().map(|param| param.0).collect::<BTreeSet<_>>().len();
            let unique = changed.functions.iter().all(|function| params(&function.1) == function.1.len());
            if names.len() == changed.functions.len() && unique && !names.is_empty() {
                (world, fits) = (changed, fits && still);
            }
        }
        // An answer that no other version gives.
        let answer = if fits { 1_000 + round } else { 100 };
        let text = world.component(answer);
        let app_file = app.path("changed.wasm");
        std::fs::write(&app_file, wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))).unwrap();
        let output = app.souk("deploy", &["callee", app_file.to_str().unwrap()]).await;
        assert_eq!(output.status.success(), fits, "round {round}: {world:?}: {:?}", texts(&output));
        if fits {
            (serving, fitted) = (answer, fitted + 1);
        }
        assert_eq!(called(&api, "sum").await, Some(format!(r#"{{"ok":{}}}"#, 2 * serving)), "round {round}: {world:?}");
    }
    assert!(fitted > 0 && fitted < count, "{fitted} of {count} fitted");
}

/// The hosts that take requests, as in the list of a load balancer.
#[derive(Clone, Default)]
struct Balanced(Arc<Mutex<Vec<(&'static str, Api)>>>);

impl Balanced {
    fn add(&self, state: &'static str, api: Api) {
        self.0.lock().unwrap().push((state, api));
    }

    fn remove(&self, state: &str) {
        self.0.lock().unwrap().retain(|(other, _)| *other != state);
    }

    /// Sends 50 requests a second for two seconds, each of which must succeed; returns the different answers.
    async fn two_seconds(&self, step: &str) -> BTreeSet<String> {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / 50);
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..100 {
            tick.tick().await;
            let apis = self.0.lock().unwrap().clone();
            let api = apis[number % apis.len()].1.clone();
            requests.spawn(async move { called(&api, "g").await });
        }
        let mut answers = BTreeSet::new();
        while let Some(answer) = requests.join_next().await {
            answers.insert(answer.unwrap().unwrap_or_else(|| panic!("a call failed: {step}")));
        }
        answers
    }
}

/// A release of the application, on the shared NATS server. With `gained`, its results have one more optional field.
fn release(nats: &Nats, gained: bool) -> App {
    let with_handler = caller(gained).replacen("(component", &format!("(component {HANDLER}"), 1);
    App::inline(MANIFEST)
        .component("web.wasm", &with_handler)
        .component("callee.wasm", &callee(gained))
        .argument("--nats")
        .argument(nats.url())
}

#[tokio::test]
async fn hosts_are_replaced_one_by_one_by_a_release_with_an_optional_field_more_and_no_call_fails() {
    for callees_first in [true, false] {
        let nats = Nats::start();
        let (old, new) = (release(&nats, false), release(&nats, true));
        let balanced = Balanced::default();
        let web = async |app: &App, state: &'static str| -> Host {
            let host = app.start_at("127.0.0.1:0", state, &["--only", "web"]).await;
            balanced.add(state, Api::at(app, state));
            host
        };
        let callee_of = async |app: &App, state: &str| app.start_at("127.0.0.1:0", state, &["--only", "callee"]).await;
        let leaves = async |host: Host, state: &str| {
            balanced.remove(state);
            host.stop().await;
        };
        let old_callee = callee_of(&old, "old-callee").await;
        let old_web = web(&old, "old-web").await;
        assert_eq!(balanced.two_seconds("the old release").await, BTreeSet::from([r#"{"ok":40}"#.to_owned()]));
        let mut between = BTreeSet::new();
        let (_web, _callee);
        if callees_first {
            _callee = callee_of(&new, "new-callee").await;
            between.append(&mut balanced.two_seconds("a callee of each").await);
            leaves(old_callee, "old-callee").await;
            between.append(&mut balanced.two_seconds("an old caller of a new callee").await);
            _web = web(&new, "new-web").await;
            between.append(&mut balanced.two_seconds("a caller of each").await);
            leaves(old_web, "old-web").await;
        } else {
            _web = web(&new, "new-web").await;
            between.append(&mut balanced.two_seconds("a caller of each").await);
            leaves(old_web, "old-web").await;
            between.append(&mut balanced.two_seconds("a new caller of an old callee").await);
            _callee = callee_of(&new, "new-callee").await;
            between.append(&mut balanced.two_seconds("a callee of each").await);
            leaves(old_callee, "old-callee").await;
        }
        let known = ["40", "60", "61"].map(|number| format!(r#"{{"ok":{number}}}"#));
        assert!(between.len() > 1 && between.iter().all(|answer| known.contains(answer)), "{between:?}");
        assert_eq!(balanced.two_seconds("the new release").await, BTreeSet::from([known[2].clone()]));
    }
}

/// The configuration of hosts that may deploy.
fn shared(nats: &Nats) -> String {
    format!("[nats]\nservers = [\"{}\"]\ncluster_secret = \"the secret of all hosts\"\n", nats.url())
}

#[tokio::test]
async fn one_request_sees_one_version_of_a_component_on_another_host_however_often_it_is_called() {
    let nats = Nats::start();
    let world = World::of_the_caller();
    let app = App::inline(MANIFEST)
        .component("web.wasm", &caller_of_two())
        .component("callee.wasm", &world.component(100))
        .component("new-callee.wasm", &world.component(200))
        .file("runtime-config.toml", shared(&nats));
    let _callee = app.start_at("127.0.0.1:0", "callee", &["--only", "callee"]).await;
    let _web = app.start_at("127.0.0.1:0", "web", &["--only", "web"]).await;
    let file = app.path("new-callee.wasm").to_str().unwrap().to_owned();
    let canary = ["callee", &file, "--canary", "50%", "--for", "1h", "--max-slowdown", "1000"];
    let output = app.souk_at("callee", "deploy", &canary).await;
    assert!(output.status.success(), "{:?}", texts(&output));
    let (api, mut answers) = (Api::at(&app, "web"), BTreeSet::new());
    for _ in 0..60 {
        answers.insert(called(&api, "sum").await.unwrap());
    }
    // Each request calls two functions and adds their answers.
    assert_eq!(answers, BTreeSet::from([200, 400].map(|sum| format!(r#"{{"ok":{sum}}}"#))));
}

#[tokio::test]
async fn new_versions_of_a_caller_and_a_callee_on_two_hosts_are_deployed_in_either_order_and_no_call_fails() {
    for callee_first in [true, false] {
        let nats = Nats::start();
        let of_caller = |text: &str| text.replacen("(component", &format!("(component {HANDLER}"), 1);
        let app = App::inline(MANIFEST)
            .component("web.wasm", &of_caller(&caller(false)))
            .component("callee.wasm", &callee(false))
            .component("new-web.wasm", &of_caller(&caller(true)))
            .component("new-callee.wasm", &callee(true))
            .component("other-web.wasm", &caller_of_two())
            .file("runtime-config.toml", shared(&nats));
        let _callee = app.start_at("127.0.0.1:0", "callee", &["--only", "callee"]).await;
        let _web = app.start_at("127.0.0.1:0", "web", &["--only", "web"]).await;
        let balanced = Balanced::default();
        balanced.add("web", Api::at(&app, "web"));
        let file = |name: &str| app.path(name).to_str().unwrap().to_owned();

        // What no host can answer is refused, with both types.
        let output = app.souk_at("web", "deploy", &["web", &file("other-web.wasm")]).await;
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{out}");
        for fragment in ["test:deploy/numbers@1.0.0#f` of `callee`", "record", "-> u32` here", "is not there", "fix: "]
        {
            assert!(err.contains(fragment), "{fragment} is missing: {err}");
        }

        let mut steps = [("callee", "new-callee.wasm"), ("web", "new-web.wasm")];
        if !callee_first {
            steps.reverse();
        }
        let (mut before, known) = ("40", ["40", "60", "61"]);
        for (component, name) in steps {
            let file = file(name);
            let arguments = [component, file.as_str()];
            let (output, answers) =
                futures::join!(app.souk_at(component, "deploy", &arguments), balanced.two_seconds(name));
            let (out, err) = texts(&output);
            assert!(output.status.success(), "{out}{err}");
            assert!(answers.iter().any(|answer| answer.contains(before)), "{answers:?}");
            assert!(answers.iter().all(|answer| known.iter().any(|known| answer.contains(known))), "{answers:?}");
            before = if component == "callee" && callee_first { "60" } else { "40" };
        }
        assert_eq!(balanced.two_seconds("both are new").await, BTreeSet::from([r#"{"ok":61}"#.to_owned()]));
        // Hosts that start now learn the new type from the callee's host.
        let client = async_nats::connect(nats.url()).await.unwrap();
        let info = client.request("$SRV.INFO.changing-callee", "".into()).await.unwrap();
        let info = String::from_utf8(info.payload.to_vec()).unwrap();
        assert!(info.contains("note: option<u32>"), "{info}");
    }
}
