//! Messages as an operator sees them, and those that a request of an operator means.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The messages that a request changes.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The one with this id.
    One(String),
    /// All dead letters.
    Dead,
}

impl Selection {
    /// The id, if it is one message.
    pub(super) fn id(&self) -> Option<String> {
        match self {
            Selection::One(id) => Some(id.clone()),
            Selection::Dead => None,
        }
    }
}

/// Messages, as they were before the request changed them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundEvents {
    /// The oldest messages, [`MAX_LISTED`](super::operator::MAX_LISTED) at most.
    pub events: Vec<Event>,
    /// How many messages there are in all.
    pub total: u64,
}

/// A message as an operator sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its id.
    pub id: String,
    /// `pending`, `delivering`, `dead` or `stranded`.
    pub state: String,
    /// How many deliveries were started.
    pub attempts: u32,
    /// The component that made the call.
    pub caller: String,
    /// The component that it calls.
    pub component: String,
    /// The interface.
    pub interface: String,
    /// The function.
    pub function: String,
    /// The trace id of the call.
    pub trace: String,
    /// The length of the arguments as JSON.
    pub bytes: u64,
    /// Why the last delivery failed.
    pub reason: Option<String>,
    /// When it was stored (RFC 3339).
    pub stored_at: String,
    /// When it is delivered next (RFC 3339); none if no delivery is planned.
    pub due_at: Option<String>,
    /// The arguments, in an answer to [`Request::Show`](super::operator::Request::Show).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Box<RawValue>>,
}
