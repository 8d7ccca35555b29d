//! Events of a NestJS system for components: those that cannot be stored now, and more than a host holds.

use super::nest::{cmd, started};
use crate::harness::nats::Nats;
use crate::harness::{App, eventually};
use serde_json::json;
use std::collections::BTreeSet;

/// Two servers of three are gone: no stream has a leader, and the third goes on with what is no stream.
fn leaderless(nats: &mut Nats) {
    [1, 2].into_iter().for_each(|node| nats.kill(node));
}

fn whole(nats: &mut Nats) {
    [1, 2].into_iter().for_each(|node| nats.resume(node));
}

#[tokio::test]
async fn events_that_cannot_be_stored_are_kept_until_they_can_and_a_host_that_stops_says_how_many_it_loses() {
    let mut nats = Nats::cluster();
    let app = App::nest("services").append("[application.tool.souk.limits]\ndrain = 1000\n");
    let (host, mut client) = started(app, &nats).await;
    let items = json!({ "items": [{ "productId": 1, "quantity": 2 }] });
    let made = client.send(cmd("create_order"), items).await.unwrap();
    let id = &made["order"]["id"];
    leaderless(&mut nats);
    client.emit("payment.succeeded", json!({ "stripeChargeId": "ch_kept", "orderId": id })).await;
    // It has been tried for seconds by then.
    let line = host.wait_for_log("cannot be stored").await;
    assert!(["`payment.succeeded`", "kept and tried again", "fix: "].iter().all(|part| line.contains(part)), "{line}");
    assert_eq!(client.send(cmd("find_one_order"), json!({ "id": id })).await.unwrap()["status"], "PENDING");
    whole(&mut nats);
    client.until(cmd("find_one_order"), json!({ "id": id }), |order| order["status"] == "PAID").await;
    host.wait_for_log("events are stored again").await;

    leaderless(&mut nats);
    for charge in ["ch_1", "ch_2", "ch_3"] {
        client.emit("payment.succeeded", json!({ "stripeChargeId": charge })).await;
    }
    eventually("events cannot be stored", async || (host.log_count("cannot be stored") == 2).then_some(())).await;
    assert_eq!(host.log_count("is lost"), 0);
    host.terminate();
    host.wait_for_log("3 events of Nest clients are lost").await;
}

#[tokio::test]
async fn a_host_holds_so_many_bytes_of_events_says_what_it_loses_and_goes_on_answering() {
    let mut nats = Nats::cluster();
    let (host, mut client) = started(App::nest("services"), &nats).await;
    leaderless(&mut nats);
    let pad = "x".repeat(900_000);
    for n in 0..90 {
        client.emit("payment.succeeded", json!({ "stripeChargeId": format!("ch_{n}"), "pad": pad })).await;
    }
    let line = host.wait_for_log("is lost").await;
    assert!(line.contains("`payment.succeeded`") && line.contains("hold 65536 KiB"), "{line}");
    assert_eq!(client.send(cmd("find_one_product"), json!({ "id": 1 })).await.unwrap()["name"], "Teclado");
    whole(&mut nats);
    // Of 879 KiB each.
    let passed = || host.log().into_iter().filter(|line| line.contains("names no order")).map(charge).collect();
    let all = eventually("all that was held is delivered", async || {
        Some(passed()).filter(|passed: &BTreeSet<String>| passed.len() >= 65536 / 879)
    })
    .await;
    assert_eq!(all.len(), 65536 / 879, "{all:?}");
}

/// The charge that a line of the log is about.
fn charge(line: String) -> String {
    line.split('"').find(|part| part.starts_with("ch_")).unwrap_or_else(|| panic!("{line}")).to_owned()
}
