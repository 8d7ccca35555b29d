//! Events between the NestJS system and components, in both directions: events that cannot be stored now, more events
//! than a host can hold, and Nest services that are not running.

use super::durable::{send, until_no_messages};
use super::nest::{Node, cmd, started};
use crate::harness::nats::Nats;
use crate::harness::{App, WAIT_TIMEOUT, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Kills two of three servers: no stream has a leader, but core NATS still works on the third server.
fn leaderless(nats: &mut Nats) {
    [1, 2].into_iter().for_each(|node| nats.kill(node));
}

fn whole(nats: &mut Nats) {
    [1, 2].into_iter().for_each(|node| nats.resume(node));
}

#[tokio::test]
async fn events_that_cannot_be_stored_are_kept_until_they_can_and_a_host_that_stops_says_how_many_it_loses() {
    let mut nats = Nats::cluster();
    let app = App::nest("services").shared_secrets().append("[application.tool.souk.limits]\ndrain = 1000\n");
    let (host, mut client) = started(app, &nats).await;
    let items = json!({ "items": [{ "productId": 1, "quantity": 2 }] });
    let made = client.send(cmd("create_order"), items).await.unwrap();
    let id = &made["order"]["id"];
    leaderless(&mut nats);
    client.emit("payment.succeeded", json!({ "stripeChargeId": "ch_kept", "orderId": id })).await;
    // The host has tried for seconds by then.
    let line = host.wait_for_log("cannot be stored").await;
    assert!(["`payment.succeeded`", "kept and tried again", "fix: "].iter().all(|part| line.contains(part)), "{line}");
    assert_eq!(client.send(cmd("find_one_order"), json!({ "id": id })).await.unwrap()["status"], "PENDING");
    whole(&mut nats);
    client.until(cmd("find_one_order"), json!({ "id": id }), |order| order["status"] == "PAID").await;
    host.wait_for_log("events are stored again").await;

    let before = host.log_count("cannot be stored");
    leaderless(&mut nats);
    for charge in ["ch_1", "ch_2", "ch_3"] {
        client.emit("payment.succeeded", json!({ "stripeChargeId": charge })).await;
    }
    eventually("events cannot be stored", async || (host.log_count("cannot be stored") > before).then_some(())).await;
    assert_eq!(host.log_count("is lost"), 0);
    host.terminate();
    host.wait_for_log("3 events of Nest clients are lost").await;
}

#[tokio::test]
async fn a_host_holds_a_limited_number_of_bytes_of_events_and_requests_and_logs_what_it_loses() {
    // Each message has 879 KiB.
    const HELD: usize = 65536 / 879;
    let mut nats = Nats::cluster();
    let (host, mut client) = started(App::nest("services").shared_secrets(), &nats).await;
    leaderless(&mut nats);
    let pad = "x".repeat(900_000);
    for n in 0..90 {
        client.emit("payment.succeeded", json!({ "stripeChargeId": format!("ch_{n}"), "pad": pad })).await;
    }
    let line = host.wait_for_log("is lost").await;
    assert!(line.contains("`payment.succeeded`") && line.contains("hold 65536 KiB"), "{line}");
    assert_eq!(client.send(cmd("find_one_product"), json!({ "id": 1 })).await.unwrap()["name"], "Teclado");
    // Requests have a separate limit: those within it wait until their time is over, and the others are refused at
    // once.
    let asking = async_nats::connect(format!("nats://127.0.0.1:{}", nats.port(0))).await.unwrap();
    let ask = async || {
        let packet = json!({ "data": { "stripeChargeId": "asked", "pad": pad }, "id": "x" }).to_string();
        let request = async_nats::Request::new().payload(packet.into()).timeout(Some(WAIT_TIMEOUT));
        let reply = asking.send_request("payment.succeeded", request).await.unwrap();
        String::from_utf8(reply.payload.to_vec()).unwrap()
    };
    let answers = futures::future::join_all((0..90).map(|_| ask())).await;
    let refused = |why: &str| answers.iter().filter(|answer| answer.contains(why)).count();
    let (at_once, in_the_end) = (refused("is overloaded"), refused("cannot be sent messages now"));
    assert!(at_once > 0 && at_once + in_the_end == 90, "{answers:?}");
    whole(&mut nats);
    let passed = || {
        let charge = |line: &String| Some(line.split('"').find(|part| part.starts_with("ch_"))?.to_owned());
        host.log().iter().filter(|line| line.contains("names no order")).filter_map(charge).collect()
    };
    let all = eventually("all that was held is delivered", async || {
        Some(passed()).filter(|passed: &BTreeSet<String>| passed.len() >= HELD)
    })
    .await;
    assert_eq!(all.len(), HELD, "{all:?}");
}

#[tokio::test]
async fn an_event_reaches_a_nest_service_and_its_sender_is_told_when_nobody_listens() {
    let mut nats = Nats::start();
    let app = sender(
        "",
        "[component.sender.tool.souk.nest.calls]\n\"account.noted\" = \"souk-test:rogue/events@1.0.0#handle\"",
    );
    let host = app.argument("--nats").argument(nats.url()).start().await;
    let http = host.client();
    let note = async |id: &str| http.get(&format!("/send/retry/{id}/3")).await;
    assert_eq!(note("early").await.expect_unavailable(), "the service of `account.noted` is not there");
    host.wait_for_log("nobody subscribes to the pattern").await;
    let mut service = Node::start("service.js", &[&nats.url()]).await;
    noted(&mut service, "one", json!({ "deed": { "retry": 3 } }), async || note("one").await.status == 200).await;
    // A message that is too large for the server stays too large, so a retry is useless.
    let large = http.get("/send/note/large/2000000").await.expect_failed();
    assert_eq!(large, "the service of `account.noted` cannot be sent a message of this size");
    nats.kill(0);
    host.wait_for_log("the connection to NATS is lost").await;
    assert_eq!(note("gone").await.expect_unavailable(), "the service of `account.noted` cannot be reached");
    nats.resume(0);
    noted(&mut service, "two", json!({ "deed": { "retry": 3 } }), async || note("two").await.status == 200).await;
}

#[tokio::test]
async fn a_durable_link_keeps_an_event_for_a_nest_service_that_is_away() {
    const RELAY: &str = r#"
[component.relay]
source = "../../../target/wasm32-wasip2/debug/relay.wasm"

[component.relay.tool.souk.nest.calls]
"account.noted" = "nest:microservices/events@1.0.0#handle"

[component.relay.tool.souk.limits]
delivery_backoff = 20
delivery_backoff_most = 100
"#;
    let nats = Nats::start();
    let app = sender("\"souk-test:rogue/events@1.0.0\" = { component = \"relay\" }", DURABLE)
        .append(RELAY)
        .on_nats(&nats.url());
    let host = app.start().await;
    let http = host.client();
    for id in ["one", "two"] {
        send(&http, &format!("finish/{id}/0")).await;
        let tried = host.log_count("nobody subscribes to the pattern");
        eventually("it is tried again", async || {
            (host.log_count("nobody subscribes to the pattern") > tried).then_some(())
        })
        .await;
        let mut service = Node::start("service.js", &[&nats.url()]).await;
        noted(&mut service, id, json!({}), async || true).await;
        until_no_messages(&app).await;
        service.end().await;
    }
}

const DEPENDENCY: &str = "\"souk-test:rogue/events@1.0.0\" = { component = \"rogue\" }";
const DURABLE: &str = "[component.sender.tool.souk]\ndurable = [\"souk-test:rogue/events@1.0.0\"]";

/// The application `durable`, but with another receiver than `rogue` for the events of `sender`.
fn sender(dependency: &str, table: &str) -> App {
    App::alone("durable").replace(DEPENDENCY, dependency).replace(DURABLE, table)
}

/// Waits until `sent` succeeds, and then until the service has noted the event, exactly once.
async fn noted(service: &mut Node, id: &str, more: Value, sent: impl AsyncFn() -> bool) {
    eventually("the event is sent", async || sent().await.then_some(())).await;
    let mut event = json!({ "id": id, "note": "" });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(service.line().await, json!({ "event": event }));
}
