//! Raw NATS messages: those that were recorded, and those that no Nest client sends.
//!
//! The first scenario replays the messages that were recorded from the services that the store replaces
//! (`tests/nest/wire.json`), in order, against `nest/services.toml`. A reply must be the recorded one, or the one in
//! `nest/differences.json`, which gives the reason. An entry of that list that is not needed is an error, too. The page
//! `docs/replace-a-nestjs-service.md` has the same list for readers.

use crate::harness::nats::Nats;
use crate::harness::recorded::{self, matches};
use crate::harness::{App, build};
use crate::scenarios::nest::{Node, cmd, started};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Exchange {
    name: String,
    subject: String,
    request: Value,
    reply: Value,
}

#[derive(Deserialize)]
struct Difference {
    name: String,
    reason: String,
    expected: Value,
}

#[tokio::test]
async fn every_recorded_message_is_answered_as_the_original_services_did() {
    let nats = Nats::start();
    let (host, mut client) = started(App::nest("services").shared_secrets(), &nats).await;
    let wire = async_nats::connect(nats.url()).await.unwrap();
    let list: Vec<Difference> = recorded::read("../nest/differences.json");
    let mut differences: BTreeMap<_, _> = list.into_iter().map(|d| (d.name, (d.reason, d.expected))).collect();
    let (mut token, mut order) = (Value::Null, Value::Null);
    let mut wrong = Vec::new();
    for Exchange { name, subject, request, reply } in recorded::read("nest/wire.json") {
        if name == "delete_product again" {
            client.send(cmd("delete_product"), json!({ "id": "48" })).await.unwrap();
        }
        let text = |text: &Value| text.as_str().unwrap_or_default().to_owned();
        let request = request.to_string().replace("{{token}}", &text(&token)).replace("{{order}}", &text(&order));
        let answer = wire.request(subject, request.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let here = |value: &Value| {
            let text = value.to_string().replace("http://localhost:13003", &format!("http://{}", host.address()));
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let same = matches(&here(&reply), &answer);
        match differences.remove(&name) {
            Some(_) if same => wrong.push(format!("{name}: answered as recorded: its entry is not needed")),
            Some((reason, mut expected)) => {
                assert!(!reason.is_empty(), "{name}");
                expected["isDisposed"] = reply["isDisposed"].clone();
                expected["id"] = reply["id"].clone();
                if !matches(&here(&expected), &answer) {
                    wrong.push(format!("{name}:\n    expected {expected}\n    got {answer}"));
                }
            }
            None if same => {}
            None => wrong.push(format!("{name}:\n    recorded {reply}\n    got {answer}")),
        }
        let response = &answer["response"];
        if token.is_null() {
            token = response["token"].clone();
        }
        if order.is_null() {
            order = response["order"]["id"].clone();
        }
    }
    assert!(differences.is_empty(), "differences of what was not recorded: {:?}", differences.keys());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    host.stop().await;
}

#[tokio::test]
async fn messages_that_no_nest_client_sends_are_answered_and_hurt_nobody() {
    let mut nats = Nats::start();
    let (host, mut client) = started(App::nest("products"), &nats).await;
    let pattern = r#"{"cmd":"find_one_product"}"#;
    let deep = format!(r#"{{"data":{}{},"id":"x"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for text in
        ["hello", "", "{", "\"abc\"", "null", "[1,2,3]", r#"{"id":"x3"}"#, r#"{"data":{"id":-1},"id":"x"}"#, &deep]
    {
        let reply = client.ask(json!({ "raw": pattern, "text": text })).await;
        let reply: Value = serde_json::from_str(reply["reply"].as_str().unwrap_or_else(|| panic!("{reply}"))).unwrap();
        assert_eq!((&reply["err"]["status"], &reply["isDisposed"]), (&json!(400), &json!(true)), "{text:.40}: {reply}");
    }
    // Messages without a pattern, which the NestJS system accepts; and without an id, which it does not answer.
    for (text, id) in
        [(r#"{"data":{"id":"1"},"id":"x1"}"#, json!("x1")), (r#"{"pattern":"any","data":{"id":1}}"#, Value::Null)]
    {
        let reply = client.ask(json!({ "raw": pattern, "text": text })).await;
        let reply: Value = serde_json::from_str(reply["reply"].as_str().unwrap()).unwrap();
        assert_eq!((&reply["response"]["name"], &reply["id"]), (&json!("Teclado"), &id), "{text}: {reply}");
    }
    // These messages have no reply subject.
    client.ask(json!({ "emit": { "cmd": "find_one_product" }, "data": { "id": "abc" } })).await;
    client.ask(json!({ "emit": { "cmd": "find_one_product" }, "data": { "id": 1 } })).await;
    assert_eq!(client.send(cmd("find_one_product"), json!({ "id": 1 })).await.unwrap()["name"], "Teclado");
    // The host still answers after the NATS server was killed and restarted.
    nats.kill(0);
    host.wait_for_log("the connection to NATS is lost").await;
    nats.resume(0);
    Node::client(&nats, cmd("find_one_product")).await;
    assert_eq!(host.log_count("panicked"), 0);
    host.stop().await;
}

#[test]
fn the_page_says_of_every_difference_over_nats() {
    let page = std::fs::read_to_string(build::root().join("docs/replace-a-nestjs-service.md")).unwrap();
    for Difference { name, .. } in recorded::read("../nest/differences.json") {
        let pattern = name.trim_start_matches("raw: ").split([' ', ':']).next().unwrap().to_owned();
        let pattern = if pattern == "no" { "find_one_product".to_owned() } else { pattern };
        assert!(page.contains(&format!("| `{pattern}`")), "{name}: the page has no row for `{pattern}`");
    }
}
