//! The content of a recording, in the form of its file.

use super::MAX_SHOWN_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// One recorded call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording {
    /// Which call it is, and when it was made.
    pub head: Head,
    /// The function and its arguments, or the request.
    pub question: Question,
    /// Its answer.
    pub answer: Answer,
    /// The variables of the component, without secret ones.
    pub variables: BTreeMap<String, String>,
    /// Its environment, without entries that contain a secret value.
    pub environment: BTreeMap<String, String>,
    /// The seed of its random numbers, in hexadecimal.
    pub seed: String,
    /// The values of clocks that it read.
    pub reads: Reads,
    /// The calls of its imports, in their order.
    pub imports: Vec<Entry>,
}

/// Identifies a recorded call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// The format of the file.
    pub format: u32,
    /// The component.
    pub component: String,
    /// The SHA-256 of its file.
    pub digest: String,
    /// The request id.
    pub request: String,
    /// The id of the trace; empty if the call had none.
    pub trace: String,
    /// When it was made, in milliseconds since 1970.
    pub time: u64,
    /// The secret variables that a replay takes from the configuration.
    pub secrets: Vec<String>,
}

/// The call that a component gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// A function, with its arguments as JSON.
    Function {
        /// The interface with its version.
        interface: String,
        /// The function.
        name: String,
        /// Its arguments.
        arguments: String,
    },
    /// An HTTP request.
    Request {
        /// Whether it arrived as plain values (`souk:http/handler`).
        plain: bool,
        /// The method.
        method: String,
        /// The URI.
        uri: String,
        /// Its headers, in their order.
        headers: Vec<(String, String)>,
        /// Its body, in hexadecimal where it is no text.
        body: String,
    },
}

impl Question {
    /// A short description.
    pub fn name(&self) -> String {
        match self {
            Question::Function { interface, name, .. } => format!("{interface}#{name}"),
            Question::Request { method, uri, .. } => format!("{method} {uri}"),
        }
    }

    /// The same for the log, without the address of a request: it may hold a secret or name a person. The line of the
    /// request itself has the same trace.
    pub(super) fn name_for_log(&self) -> String {
        match self {
            Question::Function { .. } => self.name(),
            Question::Request { .. } => "a request".to_owned(),
        }
    }
}

/// The answer of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The result of a function, as JSON.
    Returned(String),
    /// An HTTP response.
    Response {
        /// The status.
        status: u16,
        /// Its headers, in their order.
        headers: Vec<(String, String)>,
        /// Its body, in hexadecimal where it is no text.
        body: String,
    },
    /// It failed in this way.
    Failed(String),
}

/// A call of an import.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The interface and the function.
    pub import: String,
    /// Its arguments, without the values of secret variables; only the beginning if they are long.
    pub arguments: String,
    /// The SHA-256 of all arguments, if they are long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its result; `None` if it did not return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
}

impl Entry {
    pub(super) fn new(import: &str, arguments: &str) -> Self {
        let shown = arguments.get(..arguments.floor_char_boundary(MAX_SHOWN_BYTES)).unwrap_or_default();
        let digest = (shown.len() < arguments.len()).then(|| hex::encode(Sha256::digest(arguments.as_bytes())));
        Entry { import: import.to_owned(), arguments: shown.to_owned(), digest, result: None }
    }

    pub(super) fn asks_the_same(&self, other: &Entry) -> bool {
        self.import == other.import && self.arguments == other.arguments && self.digest == other.digest
    }

    pub(super) fn text(&self) -> String {
        let more = if self.digest.is_some() { " ..." } else { "" };
        format!("{} {}{more}", self.import, self.arguments)
    }
}

/// The first difference of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How many imports were called before it.
    pub at: usize,
    /// The import and arguments of the recording.
    pub recorded: Option<String>,
    /// The import and arguments of the replay.
    pub now: Option<String>,
}

/// The number of [`ClockKind`]s.
pub(crate) const CLOCK_KINDS: usize = 3;

/// A clock that a component can read. The values read from each are recorded in a sequence of their own.
#[derive(Clone, Copy)]
pub(crate) enum ClockKind {
    /// The time of day, in nanoseconds since 1970.
    Wall,
    /// The monotonic clock, in nanoseconds.
    Monotonic,
    /// The time that the call has left, in milliseconds.
    Remaining,
}

/// The values of clocks that a call has read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reads {
    wall: Vec<u64>,
    monotonic: Vec<u64>,
    remaining: Vec<u64>,
}

impl Reads {
    pub(super) fn values(&mut self, kind: ClockKind) -> &mut Vec<u64> {
        match kind {
            ClockKind::Wall => &mut self.wall,
            ClockKind::Monotonic => &mut self.monotonic,
            ClockKind::Remaining => &mut self.remaining,
        }
    }
}
