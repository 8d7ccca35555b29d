//! Boundaries: the places where a call passes from one side to another, and what all of them have in common.
//!
//! There are six kinds: an incoming request, a link call, a database statement, a key-value operation, an outgoing
//! request, and the storing or delivery of a durable message. Each is a [`Boundary`], created once at the start with
//! everything that is known then. A call that crosses it only [opens](Boundary::open) a [`Crossing`] and closes it with
//! its outcome. The crossing is measured ([`families`]) and, if the call has a trace, becomes a span
//! ([`trace`](crate::trace)). Recording or denying a single call also belongs here, not into the functions in between.
//!
//! A boundary that is switched off does nothing: a crossing costs one branch. Switched on, a crossing reads the clock
//! twice and updates a few counters, without an allocation if the call succeeds. Tracing adds one branch for a call
//! without a trace.
//!
//! **Bounded.** Every label value is known at the start (components, functions, routes, labels of stores) or comes from
//! a fixed list (errors, known methods and status codes). So neither a client nor a guest can make the number of series
//! grow.

mod families;
#[cfg(test)]
mod tests;
mod usage;

use crate::call::CallContext;
use crate::otel::GuestTelemetry;
use crate::trace::{Attribute, Kind, OpenSpan, SharedRedaction, Span, Tracer};
pub use families::Registry;
use families::{BoundaryMetrics, Families, Family, METHODS, OTHER};
use http::{Method, StatusCode};
use prometheus::IntCounterVec;
use std::sync::Arc;
use tokio::time::Instant;
pub use usage::{Running, Usage};

/// The boundaries of an application, with the registry of their metrics and the tracer.
#[derive(Clone, Default)]
pub struct Boundaries {
    families: Option<Arc<Families>>,
    tracer: Tracer,
    telemetry: GuestTelemetry,
    hidden: SharedRedaction,
}

impl Boundaries {
    /// Boundaries that record nothing.
    pub fn off() -> Self {
        Boundaries::default()
    }

    /// Boundaries that measure.
    ///
    /// # Errors
    /// When two metrics have the same name, which is a bug in the host.
    pub fn measured() -> Result<Self, prometheus::Error> {
        Ok(Boundaries { families: Some(Arc::new(Families::new()?)), ..Boundaries::default() })
    }

    /// The same boundaries, which also record traces with `tracer`.
    pub fn traced(self, tracer: Tracer) -> Self {
        let hidden = tracer.hidden().unwrap_or(self.hidden);
        Boundaries { tracer, hidden, ..self }
    }

    /// Whether and where traces are recorded.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Where the components' own metrics and log records go.
    pub fn telemetry(&self) -> &GuestTelemetry {
        &self.telemetry
    }

    /// The values that no text of a component may bring into the log, traces, or the reasons of failures.
    pub fn hidden(&self) -> &SharedRedaction {
        &self.hidden
    }

    /// The registry of the metrics; `None` when the boundaries are off.
    pub fn registry(&self) -> Option<&Registry> {
        self.families.as_ref().map(|families| &families.registry)
    }

    fn boundary(&self, family: impl Fn(&Families) -> &Family, labels: [&str; 3]) -> Boundary {
        Boundary(self.families.as_ref().map(|families| Arc::new(family(families).metrics(labels))))
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

    /// Statements of `component` on databases of `system` (`sqlite`, `postgresql`, `mysql`), or commands (`redis`).
    pub fn statements(&self, component: &str, system: &str) -> Boundary {
        self.boundary(|families| &families.operations, [component, system, ""])
    }

    /// Operations on the key-value store of `label`, by all components, which is kept in `system`.
    pub fn key_value(&self, label: &str, system: &str) -> Boundary {
        self.boundary(|families| &families.operations, ["", system, label])
    }

    /// HTTP requests of `component`, to the outside or to a component of the application.
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

    /// Connections and requests that the edge refuses.
    pub fn refusals(&self) -> Refusals {
        Refusals(self.families.as_ref().map(|families| families.refusals.clone()))
    }

    /// Calls into `component` that failed.
    pub fn failures(&self, component: &str) -> Failures {
        Failures(self.families.as_ref().map(|families| (families.failures.clone(), component.into())))
    }
}

impl Boundaries {
    /// The boundaries that `component` crosses by its imports.
    pub fn of_component(&self, component: &str) -> ComponentBoundaries {
        ComponentBoundaries {
            sqlite: self.statements(component, "sqlite"),
            postgres: self.statements(component, "postgresql"),
            mysql: self.statements(component, "mysql"),
            redis: self.statements(component, "redis"),
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
    /// Statements of `spin:mysql`.
    pub mysql: Boundary,
    /// Commands of `spin:redis`.
    pub redis: Boundary,
    /// HTTP requests to components of the application.
    pub inside: Boundary,
    /// HTTP requests to the outside.
    pub outside: Boundary,
}

/// A place at which calls cross; cheap to clone.
#[derive(Clone, Default)]
pub struct Boundary(Option<Arc<BoundaryMetrics>>);

impl Boundary {
    /// A boundary that records nothing.
    pub fn off() -> Self {
        Boundary(None)
    }

    /// Opens a crossing; `at` is the call's place in its trace.
    #[inline]
    pub fn open(&self, at: &Span) -> Crossing {
        match &self.0 {
            None => Crossing(None),
            Some(_) => self.open_at(at, Instant::now()),
        }
    }

    /// Opens a crossing that began at `start`, for a caller that has just read the clock.
    pub fn open_at(&self, at: &Span, start: Instant) -> Crossing {
        let Some(metrics) = &self.0 else { return Crossing(None) };
        let span = match at.is_recorded() {
            true => at.begin(metrics.kind(), metrics.span_name(), metrics.component(), start),
            false => None,
        };
        Crossing(Some(Crossed { metrics: metrics.clone(), start, span }))
    }
}

/// A call that crosses a boundary. If it is dropped before it is closed, it counts as cancelled.
#[must_use = "a crossing that is dropped counts as cancelled"]
pub struct Crossing(Option<Crossed>);

struct Crossed {
    metrics: Arc<BoundaryMetrics>,
    start: Instant,
    /// Its span, if the call has a recorded trace.
    span: Option<OpenSpan>,
}

/// The error of a crossing that was dropped before it was closed.
const CANCELLED: &str = "cancelled";

impl Crossing {
    /// Sets the boundary, where it is only known after the crossing has begun.
    pub fn at(&mut self, boundary: &Boundary) {
        if let (Some(crossed), Some(known)) = (&mut self.0, &boundary.0) {
            crossed.metrics.clone_from(known);
            if let Some(span) = &mut crossed.span {
                span.moved_to(known.component());
            }
        }
    }

    /// Makes this crossing the parent span of everything that is done in `context` from here on.
    pub fn enter(&self, context: &mut CallContext) {
        if let Some(span) = self.span() {
            context.span = span.span();
        }
    }

    /// The place in the trace for operations inside this crossing; `outer` if it is not recorded.
    pub fn place(&self, outer: &Span) -> Span {
        self.span().map_or_else(|| outer.clone(), |span| span.span())
    }

    /// Whether it is a span of a trace.
    pub fn is_recorded(&self) -> bool {
        self.span().is_some()
    }

    fn span(&self) -> Option<&OpenSpan> {
        self.0.as_ref()?.span.as_ref()
    }

    /// Adds an attribute to its span; without a span, `value` is not called.
    pub fn note(&mut self, name: &'static str, value: impl FnOnce() -> Attribute) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.note(name, value());
        }
    }

    /// Gives its span a more exact name than the boundary's.
    pub fn name(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.rename(name().into());
        }
    }

    /// Adds the SQL statement to its span.
    pub fn statement(&mut self, statement: &str) {
        let Some(crossed) = &mut self.0 else { return };
        let Some(span) = &mut crossed.span else { return };
        let shown = crossed.metrics.statements.shown(statement);
        span.change(|record| {
            record.name = shown.operation;
            record.attributes.push(("db.query.text", Attribute::Text(shown.text)));
        });
    }

    /// Adds the number of rows that the statement returned or changed.
    pub fn rows(&mut self, rows: impl TryInto<i64>) {
        self.note("db.response.returned_rows", || Attribute::number(rows));
    }

    /// Adds the reason of its failure to its span, more exact than the error's name.
    pub fn fails(&mut self, why: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().and_then(|crossed| crossed.span.as_mut()) {
            span.fails(&why());
        }
    }

    /// Closes the crossing, with this error if it failed. Error names are few, and fixed when the host is built.
    pub fn close(mut self, error: Option<&'static str>) {
        self.end(error);
    }

    fn end(&mut self, error: Option<&'static str>) {
        let Some(Crossed { metrics, start, span }) = self.0.take() else { return };
        let took = start.elapsed();
        metrics.record(error, took);
        if let Some(span) = span {
            span.end(error, took);
        }
    }

    /// Closes the crossing with this result; `name` returns the name of its error.
    pub fn close_with<T, E>(self, result: &Result<T, E>, name: impl FnOnce(&E) -> &'static str) {
        if self.0.is_some() {
            self.close(result.as_ref().err().map(name));
        }
    }

    /// Closes the crossing without measuring it: an attempt that is made again in another way, and measured there. Its span
    /// stays, because what was done meanwhile is below it.
    pub fn close_unmeasured(mut self) {
        if let Some(Crossed { start, span: Some(span), .. }) = self.0.take() {
            span.end(None, start.elapsed());
        }
    }

    /// Closes a request: with the status of its response, or the reason why there is none.
    pub fn close_request(mut self, method: &Method, outcome: Result<StatusCode, &'static str>) {
        let Some(Crossed { metrics, start, span }) = self.0.take() else { return };
        let (position, took) = (position_of(method), start.elapsed());
        metrics.record_request(position, outcome, took);
        let Some(span) = span else { return };
        span.end_with(took, |record| {
            record.name = metrics.request_name(position);
            let method = METHODS.get(position).copied().unwrap_or(OTHER);
            record.attributes.push(("http.request.method", Attribute::Name(method)));
            if let Some(route) = metrics.route() {
                record.attributes.push(("http.route", Attribute::Text(route.clone())));
            }
            match outcome {
                Ok(status) => {
                    record.attributes.push(("http.response.status_code", Attribute::number(status.as_u16())));
                    // OpenTelemetry's conventions: a 4xx status is an error in a client's span, not in a server's.
                    let failed = status.is_server_error() || metrics.kind() == Kind::Client && status.is_client_error();
                    record.error = failed.then(|| status.as_str().into());
                }
                Err(error) => record.error = Some(error.into()),
            }
        });
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        self.end(Some(CANCELLED));
    }
}

/// The position of the method in [`METHODS`].
fn position_of(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// Counts connections and requests that the edge refuses, by the reason.
#[derive(Clone, Default)]
pub struct Refusals(Option<IntCounterVec>);

impl Refusals {
    /// Counts one refusal. Reasons are few, and fixed when the host is built.
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
    /// Counts one failure.
    pub fn count(&self, error: &'static str) {
        if let Some((counters, component)) = &self.0 {
            counters.with_label_values(&[&**component, error]).inc();
        }
    }
}
