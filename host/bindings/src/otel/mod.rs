//! `wasi:otel@0.2.0-rc.2`: spans, metrics and logs that a component makes itself, by OpenTelemetry's SDK of its language.
//!
//! They join the host's own. A span is a part of the trace of the call ([`tracing`]); what the guest does while its span is
//! open is a part of that span. Metrics go to the collector, where there is one, as the guest has aggregated them, and
//! are not in `/metrics`, whose number of series no guest decides. Logs are lines of the host's log, within what the
//! component may print, and go to the collector too.
//!
//! What it refuses: spans of another trace than the call's, and of a call that nobody records; a parent that is none of the
//! call's spans. So no guest can write into the trace of another request.
//!
//! **Bounded.** So many spans of a call, so many attributes of a span, and as much of each text as a span of the host keeps;
//! metrics and logs wait for the collector in its bounded queue, and what has no room there is dropped and counted.

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
/// The interface's types for metrics, and those that all signals share.
pub use generated::wasi::otel::{metrics as metric, types};
pub use tracing::State;

souk_manifest::fixed_limits! {
    /// The fixed limits of what components tell OpenTelemetry.
    pub(crate) const FIXED_LIMITS = "telemetry of components";

    /// The most spans of its own that a component has in one call; further ones are dropped and counted.
    pub const MAX_GUEST_SPANS: usize = 256, "spans";
    /// The most attributes of a span, an event or a log record of a component that are kept.
    pub const MAX_GUEST_ATTRIBUTES: usize = 64, "attributes";
    /// The most events of a span of a component that are kept.
    pub const MAX_GUEST_EVENTS: usize = 32, "events";
    /// The longest name of a component's span, event or attribute; the rest is left out.
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

/// What a component has measured or logged, for a collector.
pub enum Told {
    /// Metrics, as it has aggregated them.
    Metrics {
        /// The component.
        component: Arc<str>,
        /// What it has measured.
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

/// A log record of a component, within bounds.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// When it happened, in nanoseconds since 1970.
    pub time: u64,
    /// How severe it is, from 1 to 24; 0 where it says nothing.
    pub severity: u8,
    /// The same in the words of its language.
    pub severity_text: String,
    /// The text.
    pub body: String,
    /// What else it says.
    pub attributes: Vec<(Box<str>, crate::trace::Attribute)>,
    /// The trace of the call, in bytes; empty where it has none.
    pub trace: Vec<u8>,
    /// The span in which it was made.
    pub span: Vec<u8>,
}

/// Takes what components tell; says whether it had room. Must not wait.
type Sink = Box<dyn Fn(Told) -> bool + Send + Sync>;

/// Where what components tell goes: nowhere until somebody takes it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telling(Arc<OnceLock<Sink>>);

impl Telling {
    /// Gives everything to `sink`. Counts once.
    pub fn send_to(&self, sink: Sink) {
        let _ = self.0.set(sink);
    }

    /// Whether somebody takes it.
    fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether there was room for it.
    fn tell(&self, told: Told) -> bool {
        self.0.get().is_none_or(|sink| sink(told))
    }
}

/// The beginning of a name of a guest.
fn name(text: &str) -> Box<str> {
    text.get(..text.floor_char_boundary(MAX_GUEST_NAME_BYTES)).unwrap_or_default().into()
}

/// Attributes of a guest: as many as are kept, their values read from JSON.
fn attributes(given: &[types::KeyValue]) -> Vec<(Box<str>, crate::trace::Attribute)> {
    given.iter().take(MAX_GUEST_ATTRIBUTES).map(|pair| (name(&pair.key), value(&pair.value))).collect()
}

/// A value, which the interface has as JSON.
fn value(json: &str) -> crate::trace::Attribute {
    use crate::trace::Attribute;
    match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => Attribute::text(text),
        Ok(serde_json::Value::Number(number)) if number.is_i64() => {
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
