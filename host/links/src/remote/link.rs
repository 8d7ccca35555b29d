//! The caller's side of a remote link: an import whose functions send their calls over NATS.

use super::call::TOO_LARGE;
use super::called::CalledFunction;
use super::{Remote, Target};
use crate::answers::{Answer, Answers};
use crate::check::LinkTypeError;
use crate::import::{Import, Imported, LinkError};
use crate::unavailable::{Unavailable, write_results};
use souk_bindings::Ctx;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::CallContext;
use souk_bindings::trace::Span;
use souk_codec::FunctionCodec;
use souk_manifest::limits::ByteSize;
use souk_runtime::{CallError, Failure};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Linker, Val};

/// What a remote link needs besides its import.
pub struct Linked<'a> {
    /// The connection to the other hosts.
    pub remote: &'a Remote,
    /// The component that calls.
    pub caller: &'a Arc<str>,
    /// How long a call may take.
    pub call_deadline: Duration,
    /// The caller's limit `call_bytes`, for the answers that it gets.
    pub call_bytes: ByteSize,
    /// Whether a function of the exporter's interface may be called twice.
    pub idempotent: &'a dyn Fn(&str) -> bool,
    /// Where calls are measured.
    pub boundaries: &'a Boundaries,
}

/// Connects `import` to the hosts that run the component which answers it. Returns the functions whose contract has no
/// error for a dead callee, as `interface#name`.
///
/// # Errors
/// When the values of a function cannot cross such a link, or the exporter runs here too and differs.
pub fn link(linker: &mut Linker<Ctx>, import: &Import<'_>, linked: &Linked<'_>) -> Result<Vec<String>, LinkError> {
    import.define(linker, |function| Link::of(import, function, linked))
}

/// One function of one link.
pub(crate) struct Link {
    remote: Remote,
    caller: Arc<str>,
    target: Target,
    call_deadline: Duration,
    codec: FunctionCodec,
    unavailable: Option<Unavailable>,
    /// Measures and traces the calls.
    boundary: Boundary,
}

impl Answers for Link {
    fn answer<'a>(self: Arc<Self>, context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        Box::new(async move {
            let crossing = self.boundary.open(&Span::default());
            let outcome = self.call(&context, params).await;
            crossing.close_with(&outcome, |error| error.failure.key());
            write_results(outcome, self.unavailable.as_ref(), results, &context)
        })
    }
}

impl Link {
    /// The link of one function of `import`.
    ///
    /// # Errors
    /// When its values cannot cross such a link.
    pub(crate) fn of(import: &Import<'_>, function: &Imported, linked: &Linked<'_>) -> Result<Self, LinkError> {
        let codec = FunctionCodec::of(&function.ty)
            .map_err(|error| LinkTypeError::not_json(import.interface, &function.name, &error))?
            .within(linked.call_bytes.as_u64());
        let called = format!("{}#{}", import.export, function.name);
        Ok(Link {
            remote: linked.remote.clone(),
            caller: linked.caller.clone(),
            target: Target::function(
                linked.remote,
                import.target.component(),
                CalledFunction::new(import.export, &function.name, &function.ty),
                (linked.idempotent)(&function.name),
            ),
            call_deadline: linked.call_deadline,
            codec,
            unavailable: function.unavailable.clone(),
            boundary: linked.boundaries.links(linked.caller, import.target.component(), &called),
        })
    }

    /// Sends a call to the host that tries out the version that it is for. `None` if that host did not take it: then
    /// the call was not started, or may be made again.
    pub(crate) async fn call_tried_out(
        &self,
        context: &CallContext,
        params: &[Val],
    ) -> Option<Result<Vec<Val>, CallError>> {
        let context = context.next(self.call_deadline)?;
        let params = self.codec.encode_params_within(self.remote.max_payload(), params).ok()??;
        let answer = self.remote.call_tried_out(&self.target, &self.caller, params.into(), &context).await?;
        Some(answer.and_then(|answer| self.results(&answer)))
    }

    fn results(&self, answer: &[u8]) -> Result<Vec<Val>, CallError> {
        self.codec
            .decode_results(answer)
            .map_err(|error| CallError::new(&self.target.component, Failure::Mismatch, format!("the result: {error}")))
    }

    async fn call(&self, context: &CallContext, params: &[Val]) -> Result<Vec<Val>, CallError> {
        let failed = |failure, detail: String| CallError::new(&self.target.component, failure, detail);
        let Some(context) = context.next(self.call_deadline) else {
            return Err(failed(Failure::TooManyHops, String::new()));
        };
        let params = self.codec.encode_params_within(self.remote.max_payload(), params);
        let params = params.map_err(|error| failed(Failure::Mismatch, format!("the arguments: {error}")))?;
        let params = params.ok_or_else(|| failed(Failure::RequestTooLarge, TOO_LARGE.to_owned()))?;
        let answer = self.remote.call(&self.target, &self.caller, params.into(), &context).await?;
        self.results(&answer)
    }
}
