//! The queue of messages: a file of this host ([`FileQueue`]), or a JetStream stream that the hosts of an application
//! share ([`JetStreamQueue`]). Callers, operators and the log use only [`Queue`]. Deliveries differ too much, so each
//! kind has its own.

use super::event::{Event, FoundEvents, Selection};
use super::file::FileQueue;
use super::jetstream::JetStreamQueue;
use super::message::{NewMessage, Published, QueueError, Stats};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// The queue; cheap to clone.
#[derive(Clone)]
pub enum Queue {
    /// In the state folder.
    File(FileQueue),
    /// On NATS.
    JetStream(JetStreamQueue),
}

impl Queue {
    /// The most bytes of messages.
    pub fn limit(&self) -> u64 {
        match self {
            Queue::File(queue) => queue.limit(),
            Queue::JetStream(queue) => queue.limit(),
        }
    }

    /// From now on the application has these components.
    pub fn set_components(&self, components: BTreeSet<String>) {
        if let Queue::JetStream(queue) = self {
            queue.set_components(components);
        }
    }

    /// What the NATS server has refused this host since `since`, worded for a sentence; `None` for a file.
    pub fn denied(&self, since: Instant) -> Option<String> {
        match self {
            Queue::File(_) => None,
            Queue::JetStream(queue) => queue.denied(since),
        }
    }

    /// Checks that the servers of the queue answer. A file has none: its disk is checked elsewhere.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn probe(&self) -> Result<(), QueueError> {
        match self {
            Queue::File(_) => Ok(()),
            Queue::JetStream(queue) => queue.probe().await,
        }
    }

    /// Stores a message. On JetStream this fails at `deadline`. Once this returns [`Published::Stored`], the message is
    /// on disk. It may be stored as well when the caller goes away before that, or when this fails.
    ///
    /// # Errors
    /// When the disk or NATS fails; the same holds for every operation below.
    pub async fn publish(&self, message: NewMessage, deadline: Instant) -> Result<Published, QueueError> {
        match self {
            Queue::File(queue) => queue.publish(message).await,
            Queue::JetStream(queue) => queue.publish(message, deadline).await,
        }
    }

    /// All messages, or all dead letters; the answer contains up to `most` of them.
    pub async fn list(&self, dead: bool, most: usize) -> Result<FoundEvents, QueueError> {
        match self {
            Queue::File(queue) => queue.list(dead, most).await,
            Queue::JetStream(queue) => queue.list(dead, most).await,
        }
    }

    /// One message with its arguments.
    pub async fn show(&self, id: String) -> Result<Option<Event>, QueueError> {
        match self {
            Queue::File(queue) => queue.show(id).await,
            Queue::JetStream(queue) => queue.show(&id).await,
        }
    }

    /// Whether the messages of `component` can be delivered: by this host, or with JetStream by any host of the
    /// application.
    pub fn delivers_to(&self, component: &str) -> bool {
        match self {
            Queue::File(queue) => queue.delivers_to(component),
            Queue::JetStream(queue) => queue.delivers_to(component),
        }
    }

    /// Makes one message or all dead letters due now; a dead letter starts again with its first attempt. A message that
    /// is being delivered, or a stranded one whose component nobody delivers to, is not changed. Returns up to `most`
    /// of the messages as they were.
    pub async fn retry_now(&self, which: Selection, most: usize) -> Result<FoundEvents, QueueError> {
        match self {
            Queue::File(queue) => queue.retry_now(which, most).await,
            Queue::JetStream(queue) => queue.retry_now(&which, most).await,
        }
    }

    /// Deletes one message or all dead letters. A message that is being delivered is not deleted: its delivery goes on.
    /// Returns up to `most` of the messages as they were.
    pub async fn drop(&self, which: Selection, most: usize) -> Result<FoundEvents, QueueError> {
        match self {
            Queue::File(queue) => queue.drop(which, most).await,
            Queue::JetStream(queue) => queue.drop(&which, most).await,
        }
    }

    /// How full the queue is.
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        match self {
            Queue::File(queue) => queue.stats().await,
            Queue::JetStream(queue) => queue.stats().await,
        }
    }
}
