//! One span, from its beginning to what is kept of it.

use super::{Guest, Place, Span, SpanId, TraceId};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Which side of what a span is, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request or call of another process, answered here.
    Server,
    /// Something asked of another: a database, a host, a server.
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
    /// A text, as much of it as may be kept.
    pub fn text(text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        text.truncate(text.floor_char_boundary(super::ring::MAX_ATTRIBUTE_BYTES));
        Attribute::Text(text.into())
    }

    /// A number; one that is too large is the largest.
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
    /// The span that it is a part of; of another process, or not recorded, where none with this id is there.
    pub parent: Option<SpanId>,
    /// What it did.
    pub name: Box<str>,
    /// Where; empty for what no component answers.
    pub component: Arc<str>,
    /// Which side of it this is.
    pub kind: Kind,
    /// When it began, since 1970.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// What kind of failure it ended with.
    pub error: Option<Box<str>>,
    /// Why it failed, more exactly: it may hold what a guest said when it trapped.
    pub detail: Option<Box<str>>,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What the trace's callers had to say.
    pub state: Option<Arc<str>>,
    /// What a guest says of a span of its own.
    pub guest: Option<Box<Guest>>,
}

impl Record {
    /// The attribute with the arguments of a call.
    pub const ARGUMENTS: &str = "souk.arguments";
    /// The attribute with what a call returned.
    pub const RESULT: &str = "souk.result";
    /// The attributes that have values of the application's.
    pub const VALUES: [&str; 2] = [Record::ARGUMENTS, Record::RESULT];

    /// What it takes of the host's memory.
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
pub(crate) struct Begun {
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

impl Begun {
    pub(super) fn new(at: &Arc<Place>, kind: Kind, name: &str, component: &str) -> Self {
        let id = SpanId::new(&at.tracing.numbers);
        let component = if component.is_empty() { at.component.clone() } else { component.into() };
        let (state, tracing) = (at.state.clone(), at.tracing.clone());
        Begun {
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

    /// The place of what happens within it.
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

    /// Why it fails, more exactly than the kind of failure says.
    pub(crate) fn fails(&mut self, why: &str) {
        let mut why = why.to_owned();
        why.truncate(why.floor_char_boundary(super::ring::MAX_ATTRIBUTE_BYTES));
        self.detail = Some(why.into());
    }

    pub(crate) fn end(self, error: Option<&str>) {
        let Begun { place, id, parent, kind, name, start, began, attributes, detail } = self;
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
