//! A span, from its beginning to its record.

use super::{Guest, Place, Root, Span, SpanId, TraceId};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
    text.get(..text.floor_char_boundary(super::ring::MAX_ATTRIBUTE_BYTES)).unwrap_or(text)
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

/// A span that has begun: its record, which nobody else has yet.
pub(crate) struct OpenSpan {
    record: Arc<Record>,
    root: Arc<Root>,
}

impl OpenSpan {
    pub(super) fn new(at: &Place, kind: Kind, name: Arc<str>, component: Arc<str>, began: Instant) -> Self {
        let root = &at.root;
        let record = Record {
            trace: root.trace,
            span: SpanId::new(&root.tracing.numbers),
            parent: at.span,
            name,
            component,
            kind,
            start: root.time(began),
            duration: Duration::ZERO,
            error: None,
            detail: None,
            attributes: Vec::new(),
            state: root.state.clone(),
            guest: None,
        };
        OpenSpan { record: Arc::new(record), root: root.clone() }
    }

    /// The place in the trace for operations inside it.
    pub(crate) fn span(&self) -> Span {
        let (root, component) = (self.root.clone(), self.record.component.clone());
        Span(Some(Place { root, span: Some(self.record.span), component }))
    }

    pub(crate) fn rename(&mut self, name: Arc<str>) {
        self.change(|record| record.name = name);
    }

    pub(crate) fn moved_to(&mut self, component: &Arc<str>) {
        self.change(|record| record.component.clone_from(component));
    }

    pub(crate) fn note(&mut self, name: &'static str, value: Attribute) {
        self.change(|record| record.attributes.push((name, value)));
    }

    /// Sets the reason of its failure, more exact than the kind of failure.
    pub(crate) fn fails(&mut self, why: &str) {
        self.change(|record| record.detail = Some(cut(why).into()));
    }

    /// Ends it; it `took` so long.
    pub(crate) fn end(self, error: Option<&str>, took: Duration) {
        self.end_with(took, |record| record.error = error.map(Box::from));
    }

    /// Ends it with everything that is only known now, in one change of its record.
    pub(crate) fn end_with(mut self, took: Duration, change: impl FnOnce(&mut Record)) {
        self.change(|record| {
            change(record);
            record.duration = took;
            if record.error.is_none() {
                record.detail = None;
            }
        });
        self.root.tracing.keep(self.record);
    }

    /// Until its end, only this value has the record.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = Arc::get_mut(&mut self.record) {
            change(record);
        }
    }
}
