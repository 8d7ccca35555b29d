//! Stand-ins: a test replaces a component by a server of its own, to test the components that call it.
//!
//! The codec writes a call as JSON, as for NATS. A function of the host, which asks the test's server, answers the
//! call. The types are those of the contract: an answer that does not fit fails the call, and the caller gets
//! `unavailable`.

use crate::answers::{self, Answers};
use crate::check::LinkTypeError;
use crate::import::{Import, LinkError};
use crate::unavailable::{Unavailable, write_results};
use futures::future::BoxFuture;
use souk_bindings::Ctx;
use souk_bindings::call::CallContext;
use souk_codec::FunctionCodec;
use souk_runtime::{CallError, Failure};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Linker, Val};

/// Answers a call of `interface#function` with these arguments, both as JSON. An error goes to the log.
pub type Answer = Arc<dyn Fn(String, Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// Lets `answer` answer `import`. A call may take up to `max`.
///
/// # Errors
/// When the component lacks a function, or a type cannot cross a link.
pub fn link(linker: &mut Linker<Ctx>, import: &Import<'_>, max: Duration, answer: &Answer) -> Result<(), LinkError> {
    import.define(linker, |function| {
        let codec = FunctionCodec::of(&function.ty)
            .map_err(|error| LinkTypeError::not_json(import.interface, &function.name, &error))?;
        Ok(Link {
            component: import.target.component().clone(),
            name: format!("{}#{}", import.export, function.name),
            codec,
            unavailable: function.unavailable.clone(),
            max,
            answer: answer.clone(),
        })
    })?;
    Ok(())
}

/// One function of one link.
struct Link {
    component: Arc<str>,
    name: String,
    codec: FunctionCodec,
    unavailable: Option<Unavailable>,
    max: Duration,
    answer: Answer,
}

impl Answers for Link {
    fn answer<'a>(
        self: Arc<Self>,
        context: CallContext,
        params: &'a [Val],
        results: &'a mut [Val],
    ) -> answers::Answer<'a> {
        Box::new(async move {
            let outcome = self.call(&context, params).await;
            write_results(outcome, self.unavailable.as_ref(), results, &context)
        })
    }
}

impl Link {
    async fn call(&self, context: &CallContext, params: &[Val]) -> Result<Vec<Val>, CallError> {
        let failed = |failure, detail: String| CallError::new(&self.component, failure, detail);
        let Some(context) = context.next(self.max) else {
            return Err(failed(Failure::TooManyHops, String::new()));
        };
        let params = self.codec.encode_params(params);
        let params = params.map_err(|error| failed(Failure::Mismatch, format!("the arguments: {error}")))?;
        let answer = tokio::time::timeout_at(context.deadline, (self.answer)(self.name.clone(), params)).await;
        let answer = answer.map_err(|_| failed(Failure::Deadline, "its stand-in did not answer".to_owned()))?;
        let answer = answer.map_err(|why| failed(Failure::Trapped, format!("its stand-in: {why}")))?;
        self.codec.decode_results(&answer).map_err(|error| {
            let answer = String::from_utf8_lossy(&answer).chars().take(200).collect::<String>();
            failed(
                Failure::Mismatch,
                format!("its stand-in answered {} with {answer}, which does not fit: {error}", self.name),
            )
        })
    }
}
