//! What answers the functions of an import: a component of this host or of another one, a queue, a recording.

use souk_bindings::call::CallContext;
use souk_runtime::Flat;
use std::sync::Arc;
use wasmtime::component::Val;

/// The answer of a host function, which writes it into the caller's results.
pub(super) type Answer<'a> = Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>;

/// What answers one function of an import.
pub(super) trait Answers: Send + Sync + 'static {
    /// Answers one call. `context` is the call context of the caller.
    fn answer<'a>(self: Arc<Self>, context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a>;

    /// Answers one call of a `func` with one flat parameter and one flat result.
    fn answer_flat<P: Flat, R: Flat>(
        self: Arc<Self>,
        context: CallContext,
        param: P,
    ) -> impl Future<Output = wasmtime::Result<R>> + Send
    where
        Self: Sized,
    {
        answer_as_vals(self, context, param)
    }
}

/// Answers a call with flat values like any other call.
pub(super) async fn answer_as_vals<P: Flat, R: Flat>(
    link: Arc<impl Answers>,
    context: CallContext,
    param: P,
) -> wasmtime::Result<R> {
    let (params, mut results) = ([param.into_val()], [Val::Bool(false)]);
    Box::into_pin(link.answer(context, &params, &mut results)).await?;
    let [result] = results;
    R::from_val(result).ok_or_else(|| wasmtime::format_err!("the result has another type"))
}
