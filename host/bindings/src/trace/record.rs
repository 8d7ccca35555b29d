//! A span, from its beginning to its record.

use super::{Guest, Place, Span, SpanId, TraceId};
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
    Text(Box<str>),
    /// A number.
    Number(i64),
}

impl Attribute {
    /// A text, cut to the limit.
    pub fn text(text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        text.truncate(text.floor_char_boundary(super::ring::MAX_ATTRIBUTE_BYTES));
        Attribute::Text(text.into())
    }

    /// A number; one that is too large becomes the largest.
    pub fn number(number: impl TryInto<i64>) -> Self {
        Attribute::Number(number.try_into().unwrap_or(i64::MAX))
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
    pub name: Box<str>,
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
    pub detail: Option<Box<str>>,
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
            Attribute::Number(_) => size_of::<(&str, Attribute)>(),
        });
        let why = [&self.error, &self.detail].into_iter().flatten().map(|text| text.len());
        let texts = self.name.len() + why.sum::<usize>();
        let guest = self.guest.as_ref().map_or(0, |guest| guest.bytes());
        size_of::<Record>() + texts + attributes.sum::<usize>() + guest
    }

    /// The text of an attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(known, value)| match value {
            Attribute::Text(text) if *known == name => Some(&**text),
            _ => None,
        })
    }
}

/// A span that has begun.
pub(crate) struct OpenSpan {
    place: Place,
    id: SpanId,
    parent: Option<SpanId>,
    kind: Kind,
    name: Box<str>,
    start: Duration,
    began: Instant,
    attributes: Vec<(&'static str, Attribute)>,
    detail: Option<Box<str>>,
}

impl OpenSpan {
    pub(super) fn new(at: &Arc<Place>, kind: Kind, name: &str, component: &str) -> Self {
        let id = SpanId::new(&at.tracing.numbers);
        let component = if component.is_empty() { at.component.clone() } else { component.into() };
        let (state, tracing) = (at.state.clone(), at.tracing.clone());
        OpenSpan {
            place: Place { trace: at.trace, span: Some(id), recorded: true, state, component, tracing },
            id,
            parent: at.span,
            kind,
            name: name.into(),
            start: souk_manifest::clock::since_epoch(),
            began: Instant::now(),
            attributes: Vec::new(),
            detail: None,
        }
    }

    /// The place in the trace for operations inside it.
    pub(crate) fn span(&self) -> Span {
        let Place { trace, span, recorded, state, component, tracing } = &self.place;
        let (state, component, tracing) = (state.clone(), component.clone(), tracing.clone());
        Span(Some(Arc::new(Place { trace: *trace, span: *span, recorded: *recorded, state, component, tracing })))
    }

    pub(crate) fn rename(&mut self, name: &str) {
        self.name = name.into();
    }

    pub(crate) fn moved_to(&mut self, component: &str) {
        self.place.component = component.into();
    }

    pub(crate) fn note(&mut self, name: &'static str, value: Attribute) {
        self.attributes.push((name, value));
    }

    /// Sets the reason of its failure, more exact than the kind of failure.
    pub(crate) fn fails(&mut self, why: &str) {
        let mut why = why.to_owned();
        why.truncate(why.floor_char_boundary(super::ring::MAX_ATTRIBUTE_BYTES));
        self.detail = Some(why.into());
    }

    pub(crate) fn end(self, error: Option<&str>) {
        let OpenSpan { place, id, parent, kind, name, start, began, attributes, detail } = self;
        let Place { trace, component, tracing, state, .. } = place;
        let (duration, error) = (began.elapsed(), error.map(Box::from));
        let detail = detail.filter(|_| error.is_some());
        tracing.keep(Record {
            trace,
            span: id,
            parent,
            name,
            component,
            kind,
            start,
            duration,
            error,
            detail,
            attributes,
            state,
            guest: None,
        });
    }
}
