//! Messages as the queues store them, whatever the queue, and what may go wrong with a queue.

use super::MAX_REASON_BYTES;
use souk_bindings::printable;
use std::fmt::Display;
use std::sync::Arc;

/// The fix for most failures of JetStream.
pub(super) const NATS_FIX: &str = "check that nats-server runs with JetStream, that most servers of its cluster are up, \
                                   and that this host's user may publish to `$JS.API.>` and `$JS.ACK.>`";

/// A failure of the queue; the cause is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// SQLite failed: the disk is full or read-only, or the file is not what it was.
    #[error("the queue of messages: {0}")]
    Database(Arc<rusqlite::Error>),
    /// NATS is away, or JetStream refused.
    #[error("the messages on NATS: {0}")]
    Nats(Arc<str>),
    /// There is no room to store a message again.
    #[error("the messages on NATS: {0} is full")]
    Full(Arc<str>),
    /// A delivery of the message began while it was being deleted.
    #[error("message {0} is deleted, but a delivery of it began at the same moment: that one may still be applied")]
    DeliveryBegan(Arc<str>),
    /// Too many messages of this component wait for a later time.
    #[error("too many messages for `{0}` wait for their delivery time or for another attempt")]
    TooManyDelayed(Arc<str>),
    /// A message is longer than NATS accepts, which is this many bytes.
    #[error("the message is larger than NATS accepts, which is {0} bytes")]
    TooLarge(usize),
    /// The stored record of a schedule is not one; the text names it.
    #[error("{0}")]
    Cursor(Arc<str>),
    /// The host's clock is this many milliseconds ahead of the NATS servers' clock; behind it when negative.
    #[error("this host's clock is {} ms {} that of the NATS servers", .0.unsigned_abs(), if *.0 > 0 { "ahead of" } else { "behind" })]
    Clock(i64),
    /// The host is stopping, or its writer thread has died.
    #[error("the queue of messages is closed: the host is stopping, or must be started again")]
    Stopped,
}

impl QueueError {
    /// NATS is away, or JetStream refused, with this cause.
    pub(super) fn nats(cause: impl Display) -> Self {
        QueueError::Nats(cause.to_string().into())
    }

    /// How to fix it.
    pub fn fix(&self) -> &'static str {
        match self {
            QueueError::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                "make room on the disk of the state folder"
            }
            QueueError::Database(_) => "make the state folder writable, with room on its disk",
            QueueError::Nats(_) => NATS_FIX,
            QueueError::Full(_) => "drop messages, or raise the limit `durable_bytes` and start the hosts again",
            QueueError::DeliveryBegan(_) => "look at the component's data; the message is not delivered again",
            QueueError::TooManyDelayed(_) => {
                "`souk events list` shows what waits; delay fewer calls, repair their target, or drop messages"
            }
            QueueError::TooLarge(_) => "raise `max_payload` of the NATS servers to 2MB",
            QueueError::Cursor(_) => {
                "delete the record (`nats stream purge --subject`), or give the schedule another name: either way it begins \
                 with its next due time"
            }
            QueueError::Clock(_) => {
                "let a time service (chrony, systemd-timesyncd) set the clocks of all hosts and NATS servers"
            }
            QueueError::Stopped => "start the host again",
        }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        QueueError::Database(Arc::new(error))
    }
}

/// The function that a message calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The component.
    pub target: Arc<str>,
    /// The interface, as the component exports it.
    pub interface: Arc<str>,
    /// The function.
    pub function: Arc<str>,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// What it calls.
    pub key: Key,
    /// The component whose call it is.
    pub caller: Arc<str>,
    /// The call's trace id.
    pub trace: Arc<str>,
    /// Its place in the trace of requests, as `Span::carried` writes it.
    pub traceparent: Option<String>,
    /// The links that the call has crossed, this one included.
    pub hops: u8,
    /// When it is delivered first, in milliseconds since 1970; `None` means at once.
    pub due: Option<i64>,
    /// The digest of the function type that the arguments were written for.
    pub digest: Arc<str>,
    /// The arguments as JSON.
    pub arguments: String,
}

/// What became of a message to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is on disk, under this id.
    Stored(String),
    /// There is no room for it.
    Full,
    /// It is longer than NATS accepts, which is this many bytes.
    TooLarge(usize),
}

/// A message that is being delivered.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id, a UUID of version 7.
    pub id: String,
    /// What it calls.
    pub key: Key,
    /// The component whose call it is.
    pub caller: String,
    /// The trace id of that call.
    pub trace: String,
    /// The call's place in the trace of requests; `None` when it had none or when an older release stored it.
    pub traceparent: Option<String>,
    /// The links that the call has crossed.
    pub hops: u8,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// The digest of the function type that the arguments were written for; `None` when release 0.1.0 stored it.
    pub digest: Option<String>,
    /// The arguments as JSON.
    pub arguments: String,
}

/// How full the queue is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Messages that wait for a delivery, or are being delivered.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Messages whose function does not exist, or takes other arguments.
    pub stranded: u64,
    /// Since when the oldest waiting message waits for its delivery, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// A reason as it is stored: shortened and without control characters, because it is a guest's text that is shown on an
/// operator's terminal.
pub(super) fn kept(reason: &str) -> String {
    let mut kept = printable(reason);
    kept.truncate(kept.floor_char_boundary(MAX_REASON_BYTES));
    kept
}
