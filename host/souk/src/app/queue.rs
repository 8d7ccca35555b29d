//! The queue of durable messages, opened when a component sends or receives messages, or when some are left from
//! before.

use souk_bindings::storage::why_not_opened;
use souk_links::durable::{FileQueue, JetStreamError, JetStreamQueue, Queue, QueueError};
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use souk_nats::Nats;
use std::path::PathBuf;

/// The queue of durable messages cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenQueueError {
    /// The queue in the state folder.
    #[error("the queue of messages in {} cannot be opened: {why}\n  fix: {fix}", path.display())]
    File {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
        /// The fix.
        fix: &'static str,
    },
    /// The queue on NATS.
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    /// The messages that an earlier start without NATS left cannot be read.
    #[error("{error}\n  fix: {}", error.fix())]
    Left {
        /// Why.
        error: QueueError,
    },
}

/// Opens the queue of durable messages. It is needed when a component of this host has a durable link or a schedule,
/// when events of a NestJS system must be stored (`stores_nest_events`), when a component here receives messages that
/// another one sends (`receives`), or when messages of an earlier manifest are left. With `nats` the queue is in
/// JetStream, otherwise in the state folder.
pub(super) async fn open(
    application: &Application,
    state: &StateFolder,
    nats: Option<&Nats>,
    stores_nest_events: bool,
    receives: bool,
) -> Result<Option<Queue>, OpenQueueError> {
    let (path, limit) = (state.messages(), application.limits.durable_bytes.as_u64());
    let sends_here = application.here().any(|component| !component.durable.is_empty());
    let sent_anywhere = || application.components.values().any(|component| !component.durable.is_empty());
    let scheduled = application.here().any(|component| !component.schedules.is_empty());
    let durable = stores_nest_events || sends_here || scheduled || (receives && sent_anywhere());
    let file = if path.exists() || (durable && nats.is_none()) {
        Some(FileQueue::open(&path, limit).map_err(|error| {
            let (why, fix) = why_not_opened(&error);
            OpenQueueError::File { path, why, fix }
        })?)
    } else {
        None
    };
    let Some(nats) = nats else { return Ok(file.map(Queue::File)) };
    if let Some(file) = file {
        let left = file.stats().await.map_err(|error| OpenQueueError::Left { error })?;
        let left = left.waiting + left.dead + left.stranded;
        if left > 0 {
            tracing::warn!(
                "the state folder has {left} durable messages from before this host used NATS; they are not delivered; \
                 fix: start the host without NATS until `souk events list` is empty"
            );
        }
    }
    let (nats, components) = (nats.clone(), application.components.keys().cloned().collect());
    Ok(match (durable, receives) {
        (true, _) => Some(JetStreamQueue::open(nats, limit, components).await?),
        // An earlier manifest may have left messages. JetStream is not required for that: an error is only logged.
        (false, true) => JetStreamQueue::find(nats, limit, components).await.unwrap_or_else(|error| {
            match error.is_transient() {
                true => tracing::warn!("cannot check for durable messages of an earlier manifest: {error}"),
                false => tracing::debug!("{error}"),
            }
            None
        }),
        (false, false) => None,
    }
    .map(Queue::JetStream))
}
