//! Leaves a queue group of NATS without losing a message.

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_nats::{Nats, Outage};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of leaving.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long NATS may take to confirm that a stopping host gets no more calls.
    pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
}

/// Leaves the queue group of `calls` without losing a message: afterwards the subscription yields the messages that
/// NATS sent before it ended the subscription, and then ends.
///
/// A client can ask the server to end a subscription after a number of messages. With a number that is too large for
/// the server (NATS reads at most nine digits, and treats more as none), the server ends the subscription at once, but
/// the client still accepts messages that are on their way. After a round trip all of them have arrived. A server that
/// did accept the number would go on until the subscription is closed; then no more is lost than with an ordinary
/// unsubscribe.
pub(crate) async fn leave(calls: &mut Subscriber, nats: &Nats) {
    if *nats.outage().borrow() == Outage::None && calls.unsubscribe_after(u64::MAX).await.is_ok() {
        round_trip(nats.client()).await;
    }
    let _ = calls.unsubscribe().await;
}

/// Waits until the server has handled everything that was sent to it before, and everything that it sent by then has
/// arrived.
pub(crate) async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let there_and_back = async {
        let mut messages = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        messages.next().await
    };
    if !matches!(tokio::time::timeout(LEAVE_TIMEOUT, there_and_back).await, Ok(Some(_))) {
        tracing::debug!("NATS does not answer");
    }
}
