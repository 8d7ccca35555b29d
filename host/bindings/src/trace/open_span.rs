//! A span that has begun, until its record is kept.

use super::record::{Attribute, Kind, Record, cut};
use super::{Place, Root, Span, SpanId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
        // First without secrets: of one that is cut, a part would stay.
        let why = self.root.tracing.hidden.apply(why);
        self.change(|record| record.detail = Some(cut(&why).into()));
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
