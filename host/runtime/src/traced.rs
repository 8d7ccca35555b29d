//! The arguments and results of calls in traces, for a component whose manifest allows it (`trace_arguments`).
//!
//! They are JSON, as in `souk call`, without the values of secret variables, and cut to the limit of a span.

use super::component::Compiled;
use souk_bindings::Grants;
use souk_bindings::trace::{Attribute, Redaction};
use souk_codec::FunctionCodec;
use std::sync::Arc;
use wasmtime::component::Val;

souk_manifest::fixed_limits! {
    /// The fixed limits of values in traces.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The most bytes of JSON for a call's arguments or result, of which a trace keeps the beginning; larger values are
    /// left out.
    const MAX_TRACED_BYTES: usize = 64 << 10, bytes;
}

/// Writes the values of one function for traces; cheap to clone.
#[derive(Clone)]
pub(super) struct TracedValues {
    /// `None` if JSON cannot represent them.
    codec: Option<Arc<FunctionCodec>>,
    hidden: Arc<Redaction>,
}

impl TracedValues {
    /// One for each function of `compiled`; empty if `grants` do not allow them.
    pub(super) fn of(compiled: &Compiled, grants: &Grants) -> Vec<Self> {
        let Some(hidden) = &grants.traced_values else { return Vec::new() };
        let functions = compiled.exported.functions.iter();
        let codec = |function: &super::component::Function| FunctionCodec::of(&function.ty).ok().map(Arc::new);
        functions.map(|function| TracedValues { codec: codec(function), hidden: hidden.clone() }).collect()
    }

    /// The arguments of a call.
    pub(super) fn arguments(&self, values: &[Val]) -> Attribute {
        self.written(|codec| codec.encode_params_within(MAX_TRACED_BYTES, values))
    }

    /// The result of a call.
    pub(super) fn result(&self, values: &[Val]) -> Attribute {
        self.written(|codec| codec.encode_results_within(MAX_TRACED_BYTES, values))
    }

    fn written<E>(&self, write: impl FnOnce(&FunctionCodec) -> Result<Option<Vec<u8>>, E>) -> Attribute {
        match self.codec.as_deref().map(write) {
            Some(Ok(Some(json))) => Attribute::text(self.hidden.apply(&String::from_utf8_lossy(&json))),
            Some(Ok(None)) => Attribute::text(format!("more than {MAX_TRACED_BYTES} bytes")),
            Some(Err(_)) | None => Attribute::text("no JSON has these values"),
        }
    }
}
