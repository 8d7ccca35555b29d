//! The record of a span that has ended.

use super::ids::{SpanId, TraceId};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of spans.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The longest text that a span keeps: a statement, an argument, an error.
    pub(super) const MAX_ATTRIBUTE_BYTES: usize = 4 << 10, bytes;
}

/// The kind of a span, in OpenTelemetry's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request or call of another process, answered here.
    Server,
    /// A request to another system: a database, a host, a server.
    Client,
    /// A call from component to component in this process.
    Internal,
    /// A message that is stored.
    Producer,
    /// A message that is delivered.
    Consumer,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Internal => "internal",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
        }
    }
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(Arc<str>),
    /// One of a few texts that are fixed when the host is built.
    Name(&'static str),
    /// A number.
    Number(i64),
}

impl Attribute {
    /// A text, cut to the limit.
    pub fn text(text: impl AsRef<str>) -> Self {
        Attribute::Text(cut(text.as_ref()).into())
    }

    /// A number; one that is too large becomes the largest.
    pub fn number(number: impl TryInto<i64>) -> Self {
        Attribute::Number(number.try_into().unwrap_or(i64::MAX))
    }
}

/// A text, cut to the limit.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ATTRIBUTE_BYTES)).unwrap_or(text)
}

/// An event within a guest's span.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: Box<str>,
    /// Its time, since 1970.
    pub time: Duration,
    /// Its attributes.
    pub attributes: Vec<(Box<str>, Attribute)>,
}

/// The details that only guests' spans have.
#[derive(Debug, Clone, Default)]
pub struct Guest {
    /// Its attributes.
    pub attributes: Vec<(Box<str>, Attribute)>,
    /// Its events.
    pub events: Vec<Event>,
}

impl Guest {
    /// Its size in the host's memory.
    pub(super) fn bytes(&self) -> usize {
        let texts = |attributes: &[(Box<str>, Attribute)]| -> usize {
            let size = |(name, value): &(Box<str>, Attribute)| {
                name.len()
                    + size_of::<(Box<str>, Attribute)>()
                    + match value {
                        Attribute::Text(text) => text.len(),
                        Attribute::Name(_) | Attribute::Number(_) => 0,
                    }
            };
            attributes.iter().map(size).sum()
        };
        let events = self.events.iter().map(|event| event.name.len() + size_of::<Event>() + texts(&event.attributes));
        texts(&self.attributes) + events.sum::<usize>()
    }
}

/// A span that has ended.
#[derive(Debug)]
pub struct Record {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub span: SpanId,
    /// The parent span. If there is no record with this id, the parent belongs to another process or was not recorded.
    pub parent: Option<SpanId>,
    /// Its name.
    pub name: Arc<str>,
    /// Its component; empty for a request that no component serves.
    pub component: Arc<str>,
    /// The kind of the span.
    pub kind: Kind,
    /// When it began, since 1970.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// The kind of its failure, if it failed.
    pub error: Option<Box<str>>,
    /// The exact reason of its failure; it may contain what a guest printed when it trapped.
    pub detail: Option<Arc<str>>,
    /// Its attributes.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// The `tracestate` of the callers.
    pub state: Option<Arc<str>>,
    /// The details of a guest's own span.
    pub guest: Option<Box<Guest>>,
}

impl Record {
    /// The attribute with the arguments of a call.
    pub const ARGUMENTS: &str = "souk.arguments";
    /// The attribute with the result of a call.
    pub const RESULT: &str = "souk.result";
    /// The attributes that contain the application's data.
    pub const VALUES: [&str; 2] = [Record::ARGUMENTS, Record::RESULT];

    /// Its size in the host's memory.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(_, value)| match value {
            Attribute::Text(text) => text.len() + size_of::<(&str, Attribute)>(),
            Attribute::Name(_) | Attribute::Number(_) => size_of::<(&str, Attribute)>(),
        });
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let texts = self.name.len() + length(self.error.as_deref()) + length(self.detail.as_deref());
        // A client sends one with each of its requests.
        let texts = texts + length(self.state.as_deref());
        let guest = self.guest.as_ref().map_or(0, |guest| guest.bytes());
        size_of::<Record>() + texts + attributes.sum::<usize>() + guest
    }

    /// The text of an attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(known, value)| match value {
            Attribute::Text(text) if *known == name => Some(&**text),
            Attribute::Name(text) if *known == name => Some(*text),
            _ => None,
        })
    }
}
