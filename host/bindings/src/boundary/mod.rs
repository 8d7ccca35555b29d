//! Where a call crosses from one side to another: what is the same at all of these places.
//!
//! There are six: a request in, a link call, a database statement, a key-value operation, an outgoing request, and a
//! durable hand-over or delivery. Each is a [`Boundary`], made once at the start with everything that is known then, so
//! that a call that crosses it only [opens](Boundary::open) a [`Crossing`] and closes it with what became of it. That is
//! measured ([`families`]) and, where the call has a trace, a span of it ([`trace`](crate::trace)); a recording or a denial
//! of a single call belong here too, and in no function in between.
//!
//! Switched off, a boundary is nothing, and a crossing costs one branch. Switched on, it costs two looks at the clock and a
//! few counters, and no allocation where the call succeeds; a trace costs a branch more where the call has none.
//!
//! **Bounded.** What distinguishes measures is known at the start (components, functions, routes, labels), or is one of a
//! fixed list (errors, known methods and status codes): neither a client nor a guest can make their number grow.

mod families;
#[cfg(test)]
mod tests;
mod usage;

use crate::call::CallContext;
use crate::otel::Telling;
use crate::trace::{Attribute, Begun, Kind, Span, Tracer};
pub use families::Registry;
use families::{Families, Family, Place};
use http::{Method, StatusCode};
use prometheus::IntCounterVec;
use std::sync::Arc;
use tokio::time::Instant;
pub use usage::{Running, Usage};

/// What a value is that is not one of those that are told apart.
const OTHER: &str = "_OTHER";

/// The boundaries of an application: where what happens at them is kept.
#[derive(Clone, Default)]
pub struct Boundaries {
    families: Option<Arc<Families>>,
    tracer: Tracer,
    telling: Telling,
}

impl Boundaries {
    /// They keep nothing.
    pub fn off() -> Self {
        Boundaries::default()
    }

    /// They measure.
    ///
    /// # Errors
    /// When two measures have one name, which is a mistake in the host.
    pub fn measured() -> Result<Self, prometheus::Error> {
        Ok(Boundaries { families: Some(Arc::new(Families::new()?)), ..Boundaries::default() })
    }

    /// The same, where calls also have traces of `tracer`.
    pub fn traced(self, tracer: Tracer) -> Self {
        Boundaries { tracer, ..self }
    }

    /// Whether and where traces are recorded.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Where metrics and log records of components' own go.
    pub fn telling(&self) -> &Telling {
        &self.telling
    }

    /// What was measured; `None` when they are off.
    pub fn registry(&self) -> Option<&Registry> {
        self.families.as_ref().map(|families| &families.registry)
    }

    fn boundary(&self, family: impl Fn(&Families) -> &Family, labels: [&str; 3]) -> Boundary {
        Boundary(self.families.as_ref().map(|families| Arc::new(family(families).place(labels))))
    }

    /// Requests of clients for a route, which is a pattern of the manifest.
    pub fn requests(&self, component: &str, route: &str) -> Boundary {
        self.boundary(|families| &families.requests, [component, route, ""])
    }

    /// Calls of a function of `component`, as `interface@version#name`; `version` is the component's.
    pub fn calls(&self, component: &str, version: &str, function: &str) -> Boundary {
        self.boundary(|families| &families.calls, [component, version, function])
    }

    /// Calls of `component` to a function of `target` over a link, here or on another host.
    pub fn links(&self, component: &str, target: &str, function: &str) -> Boundary {
        self.boundary(|families| &families.links, [component, target, function])
    }

    /// Statements of `component` on databases of `system` (`sqlite`, `postgresql`).
    pub fn statements(&self, component: &str, system: &str) -> Boundary {
        self.boundary(|families| &families.operations, [component, system, ""])
    }

    /// Operations on the key-value store of `label`, by all components, which is kept in `system`.
    pub fn key_value(&self, label: &str, system: &str) -> Boundary {
        self.boundary(|families| &families.operations, ["", system, label])
    }

    /// Requests of `component` to others: outside, or to a component of the application.
    pub fn outgoing(&self, component: &str, inside: bool) -> Boundary {
        let target = if inside { "inside" } else { "outside" };
        self.boundary(|families| &families.outgoing, [component, "", target])
    }

    /// Messages of `component` that are stored for `target`'s `function`.
    pub fn stored(&self, component: &str, target: &str, function: &str) -> Boundary {
        self.boundary(|families| &families.stored, [component, target, function])
    }

    /// Deliveries of messages to `component`.
    pub fn deliveries(&self, component: &str) -> Boundary {
        self.boundary(|families| &families.deliveries, [component, "", ""])
    }

    /// What the edge refuses.
    pub fn refusals(&self) -> Refusals {
        Refusals(self.families.as_ref().map(|families| families.refusals.clone()))
    }

    /// Calls into `component` that failed.
    pub fn failures(&self, component: &str) -> Failures {
        Failures(self.families.as_ref().map(|families| (families.failures.clone(), component.into())))
    }
}

impl Boundaries {
    /// What `component` crosses by itself.
    pub fn of_component(&self, component: &str) -> ComponentBoundaries {
        ComponentBoundaries {
            sqlite: self.statements(component, "sqlite"),
            postgres: self.statements(component, "postgresql"),
            inside: self.outgoing(component, true),
            outside: self.outgoing(component, false),
        }
    }
}

/// The boundaries that one component crosses by its imports.
#[derive(Clone, Default)]
pub struct ComponentBoundaries {
    /// Statements of `spin:sqlite`.
    pub sqlite: Boundary,
    /// Statements of `spin:postgres`.
    pub postgres: Boundary,
    /// HTTP requests to components of the application.
    pub inside: Boundary,
    /// HTTP requests to others.
    pub outside: Boundary,
}

/// A place at which calls cross; cheap to clone.
#[derive(Clone, Default)]
pub struct Boundary(Option<Arc<Place>>);

impl Boundary {
    /// A place that keeps nothing.
    pub fn off() -> Self {
        Boundary(None)
    }

    /// A call begins to cross; `at` is the place in its trace.
    pub fn open(&self, at: &Span) -> Crossing {
        match &self.0 {
            None => Crossing(None),
            Some(place) => Crossing(Some(Crossed {
                place: place.clone(),
                start: Instant::now(),
                span: match at.is_recorded() {
                    true => at.begin(place.kind(), &place.span_name(), place.component()),
                    false => None,
                },
            })),
        }
    }
}

/// A call that crosses a boundary. Dropped before it is closed, it was cancelled.
#[must_use = "a crossing that is dropped counts as cancelled"]
pub struct Crossing(Option<Crossed>);

struct Crossed {
    place: Arc<Place>,
    start: Instant,
    /// Its part of a trace, where the call has one that is recorded.
    span: Option<Box<Begun>>,
}

/// The error of a crossing that nobody waited for.
const CANCELLED: &str = "cancelled";

impl Crossing {
    /// It crosses at `boundary`, as is known only now.
    pub fn at(&mut self, boundary: &Boundary) {
        if let (Some(crossed), Some(known)) = (&mut self.0, &boundary.0) {
            crossed.place.clone_from(known);
            if let Some(span) = &mut crossed.span {
                span.moved_to(known.component());
            }
        }
    }

    /// What is done in `context` from here on is a part of it.
    pub fn enter(&self, context: &mut CallContext) {
        if let Some(span) = self.span() {
            context.span = span.span();
        }
    }

    /// The place in the trace of what is a part of it; that of `outer` where it is not recorded.
    pub fn place(&self, outer: &Span) -> Span {
        self.span().map_or_else(|| outer.clone(), |span| span.span())
    }

    fn span(&self) -> Option<&Begun> {
        self.0.as_ref()?.span.as_deref()
    }

    /// Says something of it to its trace; where it has none, `value` is not asked for.
    pub fn note(&mut self, name: &'static str, value: impl FnOnce() -> Attribute) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.note(name, value());
        }
    }

    /// Says what it is to its trace, more exactly than the boundary does.
    pub fn name(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.rename(&name());
        }
    }

    /// The SQL statement that it is.
    pub fn statement(&mut self, statement: &str) {
        self.name(|| crate::trace::operation(statement));
        self.note("db.query.text", || Attribute::text(crate::trace::without_values(statement)));
    }

    /// How many rows the statement gave or changed.
    pub fn rows(&mut self, rows: impl TryInto<i64>) {
        self.note("db.response.returned_rows", || Attribute::number(rows));
    }

    /// Says to its trace why it fails, more exactly than its error does.
    pub fn fails(&mut self, why: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.fails(&why());
        }
    }

    /// It is over, with this error, if any; errors are few, and known when the host is built.
    pub fn close(mut self, error: Option<&'static str>) {
        if let Some(crossed) = self.0.take() {
            crossed.close(error);
        }
    }

    /// The same for what gave a result; `name` names its error.
    pub fn close_with<T, E>(self, result: &Result<T, E>, name: impl FnOnce(&E) -> &'static str) {
        if self.0.is_some() {
            self.close(result.as_ref().err().map(name));
        }
    }

    /// A request is over: with a response of this status, or without one for this reason.
    pub fn close_request(mut self, method: &Method, outcome: Result<StatusCode, &'static str>) {
        let Some(Crossed { place, start, span }) = self.0.take() else { return };
        place.record_request(known_method(method), outcome, start.elapsed());
        let Some(mut span) = span else { return };
        span.rename(format!("{} {}", known_method(method), place.route()).trim_end());
        span.note("http.request.method", Attribute::text(known_method(method)));
        if place.kind() == Kind::Server && !place.route().is_empty() {
            span.note("http.route", Attribute::text(place.route()));
        }
        match outcome {
            Ok(status) => {
                span.note("http.response.status_code", Attribute::number(status.as_u16()));
                // A client's mistake is none of a server (OpenTelemetry's conventions); of a client it is.
                let failed = status.is_server_error() || place.kind() == Kind::Client && status.is_client_error();
                span.end(failed.then_some(status.as_str()));
            }
            Err(error) => span.end(Some(error)),
        }
    }
}

impl Crossed {
    fn close(self, error: Option<&'static str>) {
        self.place.record(error, self.start.elapsed());
        if let Some(span) = self.span {
            span.end(error);
        }
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        if let Some(crossed) = self.0.take() {
            crossed.close(Some(CANCELLED));
        }
    }
}

/// The methods of RFC 9110 and 5789; all others are one.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::CONNECT
        | Method::OPTIONS
        | Method::TRACE
        | Method::PATCH => method.as_str(),
        _ => OTHER,
    }
}

/// Counts connections and requests that the edge refuses, by the reason.
#[derive(Clone, Default)]
pub struct Refusals(Option<IntCounterVec>);

impl Refusals {
    /// One more; reasons are few, and known when the host is built.
    pub fn count(&self, reason: &'static str) {
        if let Some(counters) = &self.0 {
            counters.with_label_values(&[reason]).inc();
        }
    }
}

/// Counts calls into one component that failed, by the kind of failure.
#[derive(Clone, Default)]
pub struct Failures(Option<(IntCounterVec, Arc<str>)>);

impl Failures {
    /// One more.
    pub fn count(&self, error: &'static str) {
        if let Some((counters, component)) = &self.0 {
            counters.with_label_values(&[&**component, error]).inc();
        }
    }
}
