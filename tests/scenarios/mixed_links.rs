//! Links between components of all kinds: caller and callee may differ in `async` and in their WASI version. Each
//! scenario runs for every pair of [`CALLERS`] and [`CALLEES`]; a new language is a new row.
//!
//! `CALLER-to-CALLEE` is a component of the application, under the route of its name.

use super::deploy::deploy;
use crate::harness::nats::Nats;
use crate::harness::{Answer, App, Client, Host, build, eventually};
use futures::future::join_all;
use serde_json::json;
use std::fmt::Write as _;

/// A component, by a short name and the package that it is built from.
type Row = (&'static str, &'static str);

/// The callers, named after the type of their imported functions and the WASI version of their handler.
const CALLERS: &[Row] =
    &[("func", "mixed-caller-func"), ("async", "mixed-caller-async"), ("wasi-two", "mixed-caller-0-2")];

/// The callees, named after the type of their exported functions.
const CALLEES: &[Row] = &[("func", "mixed-callee-func"), ("async", "mixed-callee-async")];

/// Every link, as the name of its caller.
fn links() -> Vec<String> {
    let pairs = CALLERS.iter().flat_map(|(caller, _)| CALLEES.iter().map(move |(callee, _)| (caller, callee)));
    pairs.map(|(caller, callee)| format!("{caller}-to-{callee}")).collect()
}

/// The names of the callees, in the form of `--only`.
fn callees() -> String {
    CALLEES.iter().map(|(callee, _)| format!("to-{callee}")).collect::<Vec<_>>().join(",")
}

/// The application, each callee with these limits.
fn app(limits: &str) -> App {
    build::mixed_guests();
    let mut manifest = "spin_manifest_version = 2\n[application]\nname = \"mixed\"\nversion = \"1.0.0\"\n".to_owned();
    for (callee, package) in CALLEES {
        let source = build::component(package);
        write!(
            manifest,
            "[component.to-{callee}]\nsource = {source:?}\n[component.to-{callee}.tool.souk.limits]\n{limits}\n"
        )
        .unwrap();
    }
    for (caller, package) in CALLERS {
        let source = build::component(package);
        for (callee, _) in CALLEES {
            let name = format!("{caller}-to-{callee}");
            write!(
                manifest,
                "[[trigger.http]]\nroute = \"/{name}/...\"\ncomponent = \"{name}\"\n\
                 [component.{name}]\nsource = {source:?}\n\
                 [component.{name}.dependencies]\n\
                 \"souk-test:mixed/work@1.0.0\" = {{ component = \"to-{callee}\" }}\n\
                 \"souk-test:mixed/events@1.0.0\" = {{ component = \"to-{callee}\" }}\n\
                 [component.{name}.tool.souk]\ndurable = [\"souk-test:mixed/events@1.0.0\"]\n"
            )
            .unwrap();
        }
    }
    App::inline(&manifest)
}

/// Where the callees run.
enum Placement {
    /// On the callers' host.
    Local(Host),
    /// On the second host.
    Remote { _nats: Nats, callee: Host, caller: Host },
}

impl Placement {
    async fn local(app: &App) -> Placement {
        Placement::Local(app.start().await)
    }

    async fn remote(app: &App) -> Placement {
        let nats = Nats::start();
        let callee = app.start_at("127.0.0.1:0", "state-1", &["--nats", &nats.url(), "--only", &callees()]).await;
        let caller =
            app.start_at("127.0.0.1:0", "state-2", &["--nats", &nats.url(), "--only", &links().join(",")]).await;
        Placement::Remote { _nats: nats, callee, caller }
    }

    fn client(&self) -> Client {
        match self {
            Placement::Local(host) | Placement::Remote { caller: host, .. } => host.client(),
        }
    }

    /// The host of the callees.
    fn callee(&self) -> &Host {
        match self {
            Placement::Local(host) | Placement::Remote { callee: host, .. } => host,
        }
    }
}

async fn get(client: &Client, link: &str, call: &str) -> Answer {
    client.get(&format!("/{link}/{call}")).await
}

#[tokio::test]
async fn values_and_errors_cross_every_link_on_one_host_and_between_two() {
    let app = app("");
    for place in [Placement::local(&app).await, Placement::remote(&app).await] {
        let client = place.client();
        for link in links() {
            let item = get(&client, &link, "next/lamp").await.expect(200);
            assert_eq!(item, json!({ "name": "lamp", "counts": [2, u32::MAX] }), "{link}");
            assert_eq!(get(&client, &link, "next").await.expect_failed(), "an item has a name", "{link}");
        }
    }
}

#[tokio::test]
async fn a_message_of_a_durable_link_is_stored_and_delivered_whichever_side_is_async() {
    let app = app("");
    for place in [Placement::local(&app).await, Placement::remote(&app).await] {
        for link in links() {
            assert_eq!(get(&place.client(), &link, &format!("note/of-{link}")).await.expect(200), "stored");
            place.callee().wait_for_log(&format!("noted of-{link}")).await;
        }
    }
}

#[tokio::test]
async fn a_callee_that_traps_or_is_late_fails_its_own_call_alone_over_every_link() {
    let app = app("call_deadline = 700");
    for place in [Placement::local(&app).await, Placement::remote(&app).await] {
        let client = place.client();
        for link in links() {
            let callee = format!("to-{}", link.rsplit_once("-to-").unwrap().1);
            for (call, end) in [("boom", "failed"), ("forever", "in time"), ("hold/600000", "in time")] {
                let message = get(&client, &link, call).await.expect_unavailable();
                assert!(message.contains(&callee) && message.contains(end), "{link}/{call}: {message}");
                assert!(!message.contains("swordfish"), "{link}/{call}: {message}");
            }
            get(&client, &link, "next/lamp").await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_callee_that_is_overloaded_refuses_over_every_link() {
    let place = Placement::local(&app("instances = 1\nwaiting = 1\nwait = \"100ms\"")).await;
    let client = place.client();
    for link in links() {
        let answers = join_all((0..4).map(|_| get(&client, &link, "hold/400"))).await;
        let refused: Vec<_> = answers.iter().filter(|a| a.status != 200).map(Answer::expect_unavailable).collect();
        assert!(refused.len() < answers.len(), "{link}: {refused:?}");
        assert!(!refused.is_empty() && refused.iter().all(|text| text.contains("overloaded")), "{link}: {refused:?}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_callee_over_every_link() {
    // One call at a time: a call that has not ended blocks the next one.
    let app = app("instances = 1\nwait = \"100ms\"");
    for place in [Placement::local(&app).await, Placement::remote(&app).await] {
        let client = place.client();
        for (at, link) in links().into_iter().enumerate() {
            let (leaver, ms) = (client.fresh(), 500_000 + at);
            let path = format!("/{link}/hold/{ms}");
            let call = tokio::spawn(async move { leaver.try_get(&path).await.is_ok() });
            place.callee().wait_for_log(&format!("holding {ms}")).await;
            call.abort();
            eventually(&format!("the callee of {link} is free"), || async {
                (get(&client, &link, "next/lamp").await.status == 200).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_callee_may_continue_after_its_return_until_its_deadline() {
    let host = app("call_deadline = 700").start().await;
    let client = host.client();
    for (at, link) in links().into_iter().enumerate() {
        let goes_on = link.ends_with("-to-async");
        for ms in [100 + at, 600_000 + at] {
            assert_eq!(get(&client, &link, &format!("linger/{ms}")).await.expect(200), ms, "{link}");
            let end = if ms < 700 { format!("lingered {ms}") } else { "after its return".to_owned() };
            if goes_on {
                let ended = at / CALLEES.len() + 1;
                let what = format!("{link}: {end}");
                let expected = if ms < 700 { 1 } else { ended };
                eventually(&what, || async { (host.log_count(&end) >= expected).then_some(()) }).await;
            }
        }
        get(&client, &link, "next/lamp").await.expect(200);
    }
    assert_eq!(host.log_count("after its return"), CALLERS.len(), "{:#?}", host.log());
}

#[tokio::test]
async fn a_version_that_fails_after_its_return_does_not_stay_on_trial() {
    let app = app("call_deadline = 700");
    let host = app.start().await;
    // The same code with one more custom section, which makes it another file.
    let mut file = std::fs::read(build::component("mixed-callee-async")).unwrap();
    file.extend([0, 2, 1, b'x']);
    let app = app.file("next.wasm", file);
    let path = app.path("next.wasm");
    deploy(&app, &["to-async", path.to_str().unwrap(), "--canary", "99.99%", "--for", "10m"]).await;
    // The call ends well, and what goes on after it misses its deadline.
    get(&host.client(), "func-to-async", "linger/600000").await.expect(200);
    let line = host.wait_for_log("version 2 of component `to-async` gets no more calls").await;
    assert!(line.contains("1 of 2 calls failed"), "{line}");
}

#[tokio::test]
async fn callers_and_callees_that_both_compute_go_on_beside_an_endless_loop() {
    // With two threads there is one permit for guests that have used up their time slice.
    let place = Placement::local(&app("").environment("TOKIO_WORKER_THREADS", "2")).await;
    let client = place.client();
    for link in links() {
        let (looping, path) = (client.fresh(), format!("/{link}/forever"));
        let endless = tokio::spawn(async move { looping.try_get(&path).await.is_ok() });
        let calls = join_all((0..8).map(|_| get(&client, &link, "compute/12/12"))).await;
        for answer in calls {
            assert_eq!(answer.expect(200), 12, "{link}");
        }
        assert!(!endless.is_finished(), "{link}: the loop has ended");
        endless.abort();
    }
}

/// A component of WASI 0.2 with this import and a handler that never answers.
fn handler_0_2(import: &str) -> String {
    format!(
        r#"(component
            {import}
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (core module $m (func (export "handle") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $i "handle")))
            (component $shape
                (import "request" (type $request (sub resource)))
                (import "out" (type $out (sub resource)))
                (import "handle" (func $handle (param "request" (own $request)) (param "response-out" (own $out))))
                (export "handle" (func $handle)))
            (instance $handler (instantiate $shape
                (with "request" (type $request)) (with "out" (type $out)) (with "handle" (func $handle))))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    )
}

/// A component that exports a contract with a `func`, and has this import.
fn exporter(import: &str) -> String {
    format!(
        r#"(component
            {import}
            (core module $m (func (export "answer")))
            (core instance $i (instantiate $m))
            (func $answer (canon lift (core func $i "answer")))
            (instance $contract (export "answer" (func $answer)))
            (export "souk-test:mixed/own@1.0.0" (instance $contract)))"#
    )
}

/// The import of a contract with a function of this type.
fn contract(kind: &str) -> String {
    format!(
        r#"(import "souk-test:mixed/events@1.0.0" (instance
            (type $e (variant (case "retry" string) (case "reject" string)))
            (export "delivery-error" (type $error (eq $e)))
            (type $f (func {kind} (param "id" string) (result (result (error $error)))))
            (export "note" (func (type $f)))))"#
    )
}

fn with_caller(caller: &str) -> App {
    build::mixed_guests();
    let callee = build::component("mixed-callee-async");
    App::inline(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"mixed\"\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n\
         [component.web]\nsource = {:?}\n[component.web.dependencies]\n\
         \"souk-test:mixed/own@1.0.0\" = {{ component = \"caller\" }}\n\
         [component.caller]\nsource = \"caller.wasm\"\n[component.caller.dependencies]\n\
         \"souk-test:mixed/events@1.0.0\" = {{ component = \"callee\" }}\n\
         [component.callee]\nsource = {callee:?}\n",
        "web.wasm"
    ))
    .component("caller.wasm", caller)
    .component("web.wasm", &handler_0_2(r#"(import "souk-test:mixed/own@1.0.0" (instance (export "answer" (func))))"#))
}

#[tokio::test]
async fn a_handler_of_wasi_0_2_that_imports_an_async_func_of_a_contract_is_refused_with_the_fix() {
    let handler = |kind| {
        let app = with_caller(&handler_0_2(&contract(kind)));
        app.replace("\"souk-test:mixed/own@1.0.0\" = { component = \"caller\" }\n", "")
            .component("web.wasm", &handler_0_2(""))
            .append("[[trigger.http]]\nroute = \"/caller\"\ncomponent = \"caller\"\n")
    };
    let message = handler("async").start_fails().await;
    for said in [
        "component `caller`",
        "WASI 0.2",
        "`souk-test:mixed/events@1.0.0#note`",
        "fix: in the WIT that the component imports, write `func`",
    ] {
        assert!(message.contains(said), "{said} is missing: {message}");
    }
    handler("").start().await;
}

#[tokio::test]
async fn a_component_of_funcs_alone_that_imports_an_async_func_of_a_contract_starts_with_a_warning() {
    let host = with_caller(&exporter(&contract("async"))).start().await;
    let line = host.wait_for_log("exports nothing but `func`s").await;
    for said in [
        "WARN",
        "component `caller`",
        "`souk-test:mixed/events@1.0.0#note`",
        "fix: in the WIT that the component imports, write `func`",
    ] {
        assert!(line.contains(said), "{said} is missing: {line}");
    }
    // There is no warning for a `func` of the contract, nor for an `async func` of the host's own interfaces.
    let clock = r#"(import "wasi:clocks/monotonic-clock@0.3.0" (instance (export "wait-for" (func async (param "how-long" u64)))))"#;
    let host = with_caller(&exporter(&format!("{clock}{}", contract("")))).start().await;
    assert_eq!(host.log_count("exports nothing but `func`s"), 0, "{:#?}", host.log());
}
