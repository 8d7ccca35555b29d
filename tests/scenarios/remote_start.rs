//! What stops the start of a host beside others, and how it reports hosts with another version of a contract.

use super::remote::{DEEDS, caller};
use crate::harness::nats::Nats;
use crate::harness::{App, eventually};
use async_nats::service::Info;
use futures::StreamExt as _;
use serde_json::{Value, json};

#[tokio::test]
async fn unreachable_dependencies_are_refused_at_start_up() {
    let nobody = App::alone("rogue").argument("--only").argument("front");
    let error = nobody.start_fails().await;
    assert!(
        error.contains("component `front`: depends on `rogue`") && error.contains("--nats nats://HOST:4222"),
        "{error}"
    );
    let unknown = App::alone("rogue").argument("--only").argument("fromt").start_fails().await;
    assert!(unknown.contains("did you mean `front`?"), "{unknown}");
    let exported = format!("[component.fresh.tool.souk]\nidempotent = [\"{DEEDS}#answers\"]");
    let app = App::alone("rogue").replace("[component.fresh.tool.souk.limits]\nmax_reuse = 1", &exported);
    let error = app.start_fails().await;
    assert!(error.contains("answers` in `idempotent`, but does not export it"), "{error}");
    assert!(error.contains("souk-test:rogue/deeds@1.0.0#answer"), "{error}");
}

#[tokio::test]
async fn a_shared_secret_must_be_configured_and_is_not_generated() {
    let nats = Nats::start();
    let own = "[application.tool.souk.variables]\ntoken = { generate = \"secret\" }\n[variables]\n";
    let app = App::alone("rogue")
        .replace("[variables]\n", own)
        .replace("token = { default = \"swordfish\", secret = true }", "token = { required = true, secret = true }")
        .replace("{ greeting = \"{{ greeting }}\" }", "{ greeting = \"{{ greeting }}\", token = \"{{ token }}\" }");
    // A host without components that use the secret does not need it.
    let caller = caller(&app, &nats).await;
    caller.stop().await;
    let all = app.argument("--nats").argument(nats.url());
    let error = all.start_fails().await;
    assert!(error.contains("variable `token`") && error.contains("SPIN_VARIABLE_TOKEN to the same value"), "{error}");
    let callee = all.argument("--only").argument("rogue");
    let error = callee.start_fails().await;
    assert!(error.contains("variable `token`") && error.contains("SPIN_VARIABLE_TOKEN to the same value"), "{error}");
    callee.variable("token", "swordfish").start().await;
}

#[tokio::test]
async fn a_component_that_a_variable_turns_off_at_one_host_and_not_at_another_stops_the_start() {
    let host = |nats: &Nats, bank: &str, only: &str| {
        let conditional = "[component.hasty.tool.souk]\nunless = \"bank\"";
        let app = App::alone("rogue").replace("[variables]\n", "[variables]\nbank = { default = \"\" }\n");
        let app = app.append(conditional).variable("bank", bank).argument("--nats").argument(nats.url());
        app.argument("--only").argument(only)
    };
    let (set, empty) = ("bank-s3cret", "");
    for (first, second, said) in [
        (empty, set, "component `hasty` is off at this host, because `bank` is set"),
        (set, empty, "component `hasty` takes part at this host, because `bank` is empty"),
    ] {
        let nats = Nats::start();
        let app = host(&nats, first, "calm");
        let there = app.start().await;
        let error = host(&nats, second, "other").start_fails().await;
        assert!(error.contains(said) && error.contains("fix: give all hosts the same variables"), "{error}");
        let one_more = host(&nats, first, "other").start().await;
        assert_eq!(one_more.client().get("/other/answer/3").await.expect(200), 3);
        let client = async_nats::connect(nats.url()).await.unwrap();
        let info = client.request("$SRV.INFO.rogue_host", "".into()).await.unwrap();
        let info = String::from_utf8(info.payload.to_vec()).unwrap();
        assert!(info.contains("\"unless.hasty\"") && !error.contains(set) && !info.contains(set), "{info}");
        // No other host is left that disagrees.
        there.stop().await;
        one_more.stop().await;
        host(&nats, second, "other").start().await;
    }
}

/// A callee from another build: it has `s32` where `front` expects `u32`, which looks the same in JSON.
const OTHER_ROGUE: &str = r#"(component
    (core module $m (func (export "answer") (param i32) (result i32) local.get 0))
    (core instance $i (instantiate $m))
    (func $answer (param "n" u32) (result s32) (canon lift (core func $i "answer")))
    (instance $contract (export "answer" (func $answer)))
    (export "souk-test:rogue/bare@1.0.0" (instance $contract)))"#;

#[tokio::test]
async fn a_caller_whose_type_no_host_serves_is_told_unavailable_and_the_log_has_both_types() {
    let nats = Nats::start();
    let manifest =
        "spin_manifest_version = 2\n[application]\nname = \"rogue\"\n[component.rogue]\nsource = \"r.wasm\"\n";
    let other = App::inline(manifest).component("r.wasm", OTHER_ROGUE).argument("--nats").argument(nats.url());
    let callee = other.start().await;
    let app = App::alone("rogue");
    let first = caller(&app, &nats).await;
    let at_start = first.wait_for_log("`souk-test:rogue/bare@1.0.0#answer` of `rogue`").await;
    // This contract has no error for it.
    first.client().get("/rogue/bare/42").await.expect(500);
    let at_call = eventually("the call is explained", || async {
        let log = first.log();
        log.into_iter().find(|line| line.contains("WARN") && line.contains("calls `souk-test:rogue/bare@1.0.0#answer`"))
    })
    .await;
    assert!(at_start.contains("ERROR"), "{at_start}");
    for line in [&at_start, &at_call] {
        for fragment in ["`front` calls", "-> s32` there", "-> u32` here", "fix: build both from the same version"] {
            assert!(line.contains(fragment), "{fragment} is missing: {line}");
        }
    }
    // With a contract that has an error for it, the caller gets the error. The other host does not have the function.
    let message = first.client().get("/rogue/answer/1").await.expect_unavailable();
    assert!(message.contains("rogue and its caller do not understand each other"), "{message}");
    first.wait_for_log("`souk-test:rogue/deeds@1.0.0#answer` of `rogue` on another host, and it is not there").await;
    // If another host has the same contract as the caller, all calls go to it, whichever host started first.
    let same = App::alone("rogue");
    let _same = same.start_at("127.0.0.1:0", "state-1", &["--nats", &nats.url(), "--only", "rogue"]).await;
    let second = same.start_at("127.0.0.1:0", "state-2", &["--nats", &nats.url(), "--only", "front"]).await;
    for host in [&first, &second] {
        for n in 0..16 {
            assert_eq!(host.client().get(&format!("/rogue/bare/{}", n + 1)).await.expect(200), n + 1);
        }
    }
    assert_eq!(second.log_count("ERROR"), 0, "{:#?}", second.log());
    callee.stop().await;
}

/// A NATS service that answers like a host of release 0.1.0, which announces no wire version.
async fn host_0_1_0(client: &async_nats::Client, metadata: Value) {
    let mut asked = client.subscribe("$SRV.INFO.rogue_host").await.unwrap();
    client.flush().await.unwrap();
    let answer = json!({
        "type": "io.nats.micro.v1.info_response",
        "name": "rogue_host",
        "id": "0192aa",
        "version": "1.0.0",
        "description": "",
        "metadata": metadata,
        "endpoints": [],
    });
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(asked) = asked.next().await {
            client.publish(asked.reply.unwrap(), answer.to_string().into()).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_host_that_finds_one_of_another_wire_version_names_it_and_does_not_start() {
    let app = |nats: &Nats| App::alone("rogue").argument("--nats").argument(nats.url());
    for (metadata, said) in [
        (json!({ "application": "rogue" }), "a host of release 0.1.0 runs the application"),
        (json!({ "application": "rogue", "wire": "3" }), "it says version 3, and this host speaks version 2"),
    ] {
        let nats = Nats::start();
        let client = async_nats::connect(nats.url()).await.unwrap();
        host_0_1_0(&client, metadata).await;
        let error = app(&nats).start_fails().await;
        for fragment in [said, "`0192aa`", "fix: stop all hosts of the other release", "Upgrade from 0.1.0"] {
            assert!(error.contains(fragment), "{fragment} is missing: {error}");
        }
    }
    // Two hosts of this release accept each other.
    let nats = Nats::start();
    let _first = app(&nats).start().await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let info = client.request("$SRV.INFO.rogue_host", "".into()).await.unwrap();
    let info: Info = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info.metadata["wire"], "2");
    let second = app(&nats).argument("--only").argument("other").start().await;
    assert_eq!(second.client().get("/other/answer/3").await.expect(200), 3);
}
