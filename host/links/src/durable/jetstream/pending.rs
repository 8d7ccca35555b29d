//! How many messages of a component have been delivered and have not ended.
//!
//! The server delivers at most [`MAX_ACK_PENDING`](super::MAX_ACK_PENDING) messages of a component before one of them
//! ends. A delayed message counts from its first delivery on: a host gives it back until it is due. So delayed messages
//! get only a part of these, and never stop the others.

use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::Stream;
use parking_lot::Mutex;
use souk_manifest::subject;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of delayed messages.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// While so many messages of one component wait or are being delivered, calls with a later delivery time are
    /// refused: the rest is for the others.
    pub(super) const MAX_ACK_PENDING_FOR_DELAYED: usize = 32_768, "messages";
    /// How long a host takes the number of a component's messages that wait for known.
    const PENDING_KNOWN_FOR: Duration = Duration::from_secs(1);
}

/// The number of each component, and when the server said so.
#[derive(Default)]
pub(super) struct Pending(Mutex<BTreeMap<Arc<str>, (Instant, usize)>>);

impl Pending {
    /// Whether the stream takes another delayed message of `component`.
    pub(super) async fn takes_delayed(&self, stream: &Stream<()>, component: &Arc<str>) -> bool {
        self.of(stream, component).await < MAX_ACK_PENDING_FOR_DELAYED
    }

    /// The number of `component`, as of a moment ago.
    pub(super) async fn of(&self, stream: &Stream<()>, component: &Arc<str>) -> usize {
        let known = self.0.lock().get(component).copied();
        if let Some((at, pending)) = known
            && at.elapsed() < PENDING_KNOWN_FOR
        {
            return pending;
        }
        let pending = match stream.consumer_info(subject::token(component)).await {
            Ok(info) => info.num_ack_pending,
            Err(error) => {
                // A component that no host has run yet has no consumer. Other failures stop the message itself.
                if !matches!(error.kind(), ConsumerInfoErrorKind::NotFound) {
                    tracing::debug!(component = %component, "how many messages wait is not known: {error}");
                }
                0
            }
        };
        self.set(component, pending);
        pending
    }

    /// Takes `pending` for known, as of now.
    pub(super) fn set(&self, component: &Arc<str>, pending: usize) {
        self.0.lock().insert(component.clone(), (Instant::now(), pending));
    }
}
