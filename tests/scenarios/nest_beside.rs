//! A service of the NestJS system that still runs and answers the same messages as the host.

use super::nest::{cmd, started};
use super::readiness::public;
use crate::harness::nats::Nats;
use crate::harness::{App, eventually};
use futures::StreamExt as _;
use serde_json::{Value, json};

#[tokio::test]
async fn a_service_that_answers_a_pattern_beside_the_host_is_in_the_log_and_in_readiness_until_it_is_gone() {
    let nats = Nats::start();
    let (host, mut client) = started(App::nest("products"), &nats).await;
    eventually("it is ready", || async { (public(&host).await == 200).then_some(()) }).await;
    let original = async_nats::connect(nats.url()).await.unwrap();
    let mut messages = original.subscribe(r#"{"cmd":"find_one_product"}"#).await.unwrap();
    let mut answers = original.subscribe("_INBOX.>").await.unwrap();
    original.flush().await.unwrap();
    let service = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let Some(reply) = message.reply else { continue };
            // The service answers more slowly than the host.
            while answers.next().await.unwrap().subject != reply {}
            let request: Value = serde_json::from_slice(&message.payload).unwrap();
            let answer = json!({ "response": { "id": 1 }, "isDisposed": true, "id": request["id"] });
            original.publish(reply, answer.to_string().into()).await.unwrap();
        }
    });
    let mut find = async || client.send(cmd("find_one_product"), json!({ "id": "1" })).await.unwrap();
    while host.log_count("ERROR") == 0 {
        find().await;
    }
    let line = host.wait_for_log("another service answers `{\"cmd\":\"find_one_product\"}` too").await;
    assert!(line.contains("ERROR") && line.contains("fix: stop the original service"), "{line}");
    eventually("it is not ready", || async { (public(&host).await == 503).then_some(()) }).await;
    host.wait_for_log("exclusive use of the patterns of `nest-products` is missing").await;
    service.abort();
    while host.log_count("is answered by this component alone again") == 0 {
        find().await;
    }
    eventually("it is ready again", || async { (public(&host).await == 200).then_some(()) }).await;
}
