//! Notes: the result of a message's last attempt, for the next attempt and for an operator.
//!
//! Most messages have no note, because their first delivery succeeds. A message that fails, is given back or is
//! delivered again has one note, on a subject of its own, of which the stream keeps only the newest message. When a
//! note is lost, the reason is lost, and the earlier attempts do not count any more.

use crate::durable::message::QueueError;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use serde::{Deserialize, Serialize};
use souk_manifest::subject::Subjects;

/// The note about a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) state: State,
    /// Attempts, including one in progress.
    pub(super) attempts: u32,
    /// How often the server has delivered it without an attempt.
    pub(super) uncounted: u32,
    /// Why the last attempt failed.
    pub(super) reason: Option<String>,
    /// When it is delivered next, in milliseconds since 1970.
    pub(super) due: Option<i64>,
}

/// The state of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// It waits until it is due.
    #[default]
    Waiting,
    /// It waits on a host whose target is overloaded, and is due at once when that host ends.
    Held,
    /// It is being delivered.
    Delivering,
    /// It waits for a host whose target can take it.
    Stranded,
}

/// The stream of notes.
pub(super) struct Notes {
    context: Context,
    stream: Stream<()>,
    subjects: Subjects,
}

impl Notes {
    pub(super) fn new(context: Context, stream: Stream<()>, subjects: Subjects) -> Self {
        Notes { context, stream, subjects }
    }

    /// The note about the message `id`.
    pub(super) async fn get(&self, id: &str) -> Result<Option<Note>, QueueError> {
        match self.stream.get_last_raw_message_by_subject(&self.subjects.note(id)).await {
            Ok(message) => Ok(serde_json::from_slice(&message.payload).ok()),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(QueueError::nats(error)),
        }
    }

    /// Writes the note about the message `id`, which replaces the one before.
    pub(super) async fn put(&self, id: &str, note: &Note) -> Result<(), QueueError> {
        let text = serde_json::to_vec(note).map_err(QueueError::nats)?;
        let sent = self.context.publish(self.subjects.note(id), text.into()).await.map_err(QueueError::nats)?;
        sent.await.map_err(QueueError::nats)?;
        Ok(())
    }

    /// Deletes the note about the message `id`.
    pub(super) async fn delete(&self, id: &str) -> Result<(), QueueError> {
        self.stream.purge().filter(self.subjects.note(id)).await.map_err(QueueError::nats)?;
        Ok(())
    }
}
