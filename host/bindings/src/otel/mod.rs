//! `wasi:otel@0.2.0-rc.2`: spans, metrics and logs that a component creates itself, with OpenTelemetry's SDK for its
//! language.
//!
//! They complete the host's own telemetry. A guest's span is a part of the call's trace ([`tracing`]), and the parent
//! of everything that the guest does while it is open. Metrics go to the collector, if there is one, as the guest has
//! aggregated them. They do not appear in `/metrics`, because no guest may decide its number of series. Logs become
//! lines of the host's log, within the limit on what the component may print, and also go to the collector.
//!
//! It refuses spans of another trace than the call's, spans of a call that is not traced, and a parent that is not one
//! of the call's spans. So no guest can write into the trace of another request.
//!
//! **Bounded.** The number of spans in a call and of attributes in a span is limited, and texts are cut like those of
//! the host's own spans. Metrics and logs wait for the collector in its bounded queue; what does not fit is dropped and
//! counted.

mod logs;
mod metrics;
mod tracing;

use crate::Ctx;
use crate::binding::Binding;
use std::sync::{Arc, OnceLock};
use wasmtime::component::{HasSelf, Linker};

#[allow(unreachable_pub, missing_docs, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: ["../../wit/deps/io@0.2.0", "../../wit/deps/clocks@0.2.0", "../../wit/deps/wasi-otel@0.2.0-rc.2"],
        world: "wasi:otel/imports",
        imports: { default: trappable },
    });
}
pub use generated::wasi::clocks::wall_clock::Datetime;
use generated::wasi::otel::{logs as wit_logs, tracing as wit_tracing};
/// The interface's types for metrics, and the types that all signals share.
pub use generated::wasi::otel::{metrics as metric, types};
pub use tracing::State;

souk_manifest::fixed_limits! {
    /// The fixed limits of the components' own telemetry.
    pub(crate) const FIXED_LIMITS = "telemetry of components";

    /// The most spans that a component creates in one call; further ones are dropped and counted.
    pub const MAX_GUEST_SPANS: usize = 256, "spans";
    /// The most attributes of a span, an event, a log record, a resource, a scope or a measurement of a component that
    /// are kept.
    pub const MAX_GUEST_ATTRIBUTES: usize = 64, "attributes";
    /// The most events of a span of a component that are kept.
    pub const MAX_GUEST_EVENTS: usize = 32, "events";
    /// The longest name of a component's span, event or attribute; longer names are cut.
    pub const MAX_GUEST_NAME_BYTES: usize = 256, bytes;
}

/// The binding.
pub(crate) const BINDING: Binding = Binding {
    name: "otel",
    interfaces: &["wasi:otel/"],
    key: "otel",
    is_missing: Binding::never,
    describe: Binding::nothing,
    fixed_limits: || FIXED_LIMITS.to_vec(),
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    types::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    wit_tracing::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    metric::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    wit_logs::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

impl types::Host for Ctx {}

/// Metrics or a log record of a component, for a collector.
pub enum GuestRecord {
    /// Metrics, as the component has aggregated them.
    Metrics {
        /// The component.
        component: Arc<str>,
        /// Its metrics.
        metrics: metric::ResourceMetrics,
    },
    /// A log record.
    Log {
        /// The component.
        component: Arc<str>,
        /// The record.
        log: LogRecord,
    },
}

/// A log record of a component, cut to the limits.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// When it happened, in nanoseconds since 1970.
    pub time: u64,
    /// Its severity, from 1 to 24; 0 when it has none.
    pub severity: u8,
    /// The severity's name in the component's language.
    pub severity_text: String,
    /// The text.
    pub body: String,
    /// Its attributes.
    pub attributes: Vec<(Box<str>, crate::trace::Attribute)>,
    /// The id of the call's trace, in bytes; empty when the call has none.
    pub trace: Vec<u8>,
    /// The id of the span in which it was created.
    pub span: Vec<u8>,
}

/// Receives the metrics and logs of components; returns whether it accepted them. Must not wait.
type Sink = Box<dyn Fn(GuestRecord) -> bool + Send + Sync>;

/// Passes the metrics and logs of components on to a sink; without a sink they go nowhere. Cheap to clone.
#[derive(Clone, Default)]
pub struct GuestTelemetry(Arc<OnceLock<Sink>>);

impl GuestTelemetry {
    /// Sets the sink; only the first call has an effect.
    pub fn send_to(&self, sink: Sink) {
        let _ = self.0.set(sink);
    }

    /// Whether there is a sink.
    fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Passes the record on; returns whether the sink accepted it.
    fn send(&self, record: GuestRecord) -> bool {
        self.0.get().is_none_or(|sink| sink(record))
    }
}

/// A guest's name, cut to the limit.
fn name(text: &str) -> Box<str> {
    text.get(..text.floor_char_boundary(MAX_GUEST_NAME_BYTES)).unwrap_or_default().into()
}

/// A guest's attributes, up to the limit, with their values read from JSON.
fn attributes(given: &[types::KeyValue]) -> Vec<(Box<str>, crate::trace::Attribute)> {
    given.iter().take(MAX_GUEST_ATTRIBUTES).map(|pair| (name(&pair.key), value(&pair.value))).collect()
}

/// The text, number or other single value that `json` is. A list or an object is not read, because it would take many
/// times its length in memory: `None`, as for what is not JSON.
pub fn scalar(json: &str) -> Option<serde_json::Value> {
    let is_scalar = !json.trim_start().starts_with(['[', '{']);
    is_scalar.then(|| serde_json::from_str(json).ok()).flatten()
}

/// A value, which is JSON in the interface.
fn value(json: &str) -> crate::trace::Attribute {
    use crate::trace::Attribute;
    match scalar(json) {
        Some(serde_json::Value::String(text)) => Attribute::text(text),
        Some(serde_json::Value::Number(number)) if number.is_i64() => {
            Attribute::number(number.as_i64().unwrap_or_default())
        }
        _ => Attribute::text(json),
    }
}

fn nanoseconds(time: Datetime) -> u64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(time.nanoseconds))
}

#[cfg(test)]
mod tests;
