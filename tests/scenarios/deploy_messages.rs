//! Durable messages while their target is replaced: every message that the old version accepted takes effect once,
//! whichever version it is delivered to.
//!
//! By default there are 200 messages; with `SOUK_SWAP_MESSAGES=10000` there are ten thousand.

use super::deploy::{deploy, versions};
use super::deploy_load::with_section;
use super::durable::{QueueKind, counted, messages, send, start, until_done};
use crate::harness::build;
use crate::harness::queue::dead;
use futures::StreamExt as _;

async fn swapped_during_delivery(kind: QueueKind) {
    let count = std::env::var("SOUK_SWAP_MESSAGES").map_or(200_u64, |count| count.parse().expect("a whole number"));
    let app = kind.limited("deliveries = 2").replace("durable_bytes = 2097152", "durable_bytes = \"64MiB\"");
    let (_host, client) = start(&app).await;
    // Compiled now, so that a deployment later takes less time than the messages.
    let plain = std::fs::read(build::component("rogue")).unwrap();
    let file = |swap: u64| app.path(&format!("swap-{swap}.wasm")).to_str().unwrap().to_owned();
    for swap in 1..=3 {
        std::fs::write(file(swap), with_section(plain.clone(), swap)).unwrap();
        deploy(&app, &["rogue", &file(swap), "--check"]).await;
    }
    // Deliveries take their time, so that many messages wait, and some are in progress, whenever the target is replaced.
    let stored = futures::stream::iter(0..count).map(|n| {
        let client = client.clone();
        async move { send(&client, &format!("wait/message-{n}/{}", (20_000 / count).max(5))).await }
    });
    let storing = stored.buffer_unordered(8).collect::<Vec<_>>();
    let swapping = async {
        for swap in 1..=3 {
            until_done(&client, &format!("message-{}", swap * count / 10)).await;
            let said = deploy(&app, &["rogue", &file(swap)]).await;
            assert!(said.contains(&format!("version {} serves", swap + 1)), "{said}");
        }
        assert_ne!(messages(&app).await.len(), 0, "messages were to wait when the last version began to serve");
    };
    futures::join!(storing, swapping);
    for n in 0..count {
        until_done(&client, &format!("message-{n}")).await;
    }
    for n in 0..count {
        let (done, tries) = (format!("done:message-{n}"), format!("tries:message-{n}"));
        assert_eq!((counted(&client, &done).await, counted(&client, &tries).await), (1, 1), "message {n}");
    }
    assert_eq!(dead(&app).await, 0);
    assert_eq!(versions(&app).await.iter().filter(|one| one["component"] == "rogue").count(), 4);
}

#[tokio::test]
async fn stored_messages_take_effect_once_while_their_target_is_replaced() {
    swapped_during_delivery(QueueKind::file()).await;
}

#[tokio::test]
async fn messages_on_jetstream_take_effect_once_while_their_target_is_replaced() {
    swapped_during_delivery(QueueKind::jetstream()).await;
}
