//! Local links: an import of one component connected to the export of another in this process.
//!
//! Each component keeps its own store: only plain values pass between them. The callee runs under its own grants and
//! limits, with the caller's deadline, trace and hop count. When the callee is dead, late or overloaded, the caller
//! gets the contract's own error ([`Unavailable`]), or traps if the contract has none.
//!
//! **The importer's type decides where the callee runs**, whatever the exporter's type is. For a `func` the callee runs
//! in the caller's task, which costs a microsecond or two and copies no parameters. For an `async func`, which is
//! polled within the caller's event loop, the callee needs a task of its own (see [`define`](super::taped::define)).

use super::answers::{Answer, Answers};
use super::check::LinkTypeError;
use super::import::{Import, LinkError};
use super::remote;
use super::unavailable::{Unavailable, failed, write_outcome};
use souk_bindings::Ctx;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::CallContext;
use souk_runtime::{CallError, CallerType, Failure, Flat, Pool};
use std::sync::Arc;
use tokio::time::Instant;
use wasmtime::component::{Linker, Val};

/// Connects `import` of the component `caller` to `target`, which answers it. With `elsewhere`, calls for a version that
/// another host tries out go there. Returns the functions whose contract has no error for a dead callee, as
/// `interface#name`.
///
/// # Errors
/// When the exporter lacks a function, or a type differs or cannot cross a link.
pub fn link(
    linker: &mut Linker<Ctx>,
    import: &Import<'_>,
    caller: &str,
    target: &Arc<Pool>,
    boundaries: &Boundaries,
    elsewhere: Option<&remote::Linked<'_>>,
) -> Result<Vec<String>, LinkError> {
    import.define(linker, |function| {
        let name = format!("{}#{}", import.export, function.name);
        let position = target.position(import.export, &function.name);
        let position = position.ok_or_else(|| import.missing(name.clone(), "deploy it again"))?;
        let caller_type = CallerType::of(&function.name, &function.ty)
            .map_err(|error| LinkTypeError::not_json(import.interface, &function.name, &error))?;
        Ok(Link {
            target: target.clone(),
            caller: Arc::new(caller_type),
            position,
            unavailable: function.unavailable.clone(),
            own_task: function.ty.async_(),
            elsewhere: elsewhere.map(|linked| remote::Link::of(import, function, linked)).transpose()?,
            boundary: boundaries.links(caller, target.component(), &name),
        })
    })
}

/// One function of one link.
struct Link {
    target: Arc<Pool>,
    /// The function's type in the caller.
    caller: Arc<CallerType>,
    position: usize,
    unavailable: Option<Unavailable>,
    /// Whether the callee needs a task of its own.
    own_task: bool,
    /// The same function on the host that tries out another version of the callee.
    elsewhere: Option<remote::Link>,
    /// Measures and traces the calls.
    boundary: Boundary,
}

impl Answers for Link {
    fn answer<'a>(self: Arc<Self>, mut context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        Box::new(async move {
            let now = Instant::now();
            let crossing = self.boundary.open_at(&context.span, now);
            crossing.enter(&mut context);
            let outcome = self.call(&context, now, params, results).await;
            crossing.close_with(&outcome, |error| error.failure.key());
            write_outcome(outcome, self.unavailable.as_ref(), results, &context)
        })
    }

    async fn answer_flat<P: Flat, R: Flat>(self: Arc<Self>, mut context: CallContext, param: P) -> wasmtime::Result<R> {
        let now = Instant::now();
        let crossing = self.boundary.open_at(&context.span, now);
        crossing.enter(&mut context);
        let outcome = match context.next_at(self.target.call_deadline(), now) {
            Some(_) if self.is_elsewhere(&context) => Box::pin(self.call_flat_elsewhere(&context, now, param)).await,
            Some(context) => self.target.call_flat(&self.caller, self.position, param, context).await,
            None => Err(CallError::new(self.target.component(), Failure::TooManyHops, "")),
        };
        crossing.close_with(&outcome, |error| error.failure.key());
        // Neither bytes nor text has an error for a dead callee.
        outcome.map_err(|error| failed(&error, &context))
    }
}

impl Link {
    /// Whether a call is for a version that another host tries out.
    fn is_elsewhere(&self, context: &CallContext) -> bool {
        self.elsewhere.is_some() && self.target.trial_notice().is_elsewhere(context.draw)
    }

    /// Calls the version that another host tries out. `None` if that host did not take the call: then the version that
    /// serves here answers it.
    async fn call_elsewhere(
        &self,
        context: &CallContext,
        params: &[Val],
        results: &mut [Val],
    ) -> Option<Result<(), CallError>> {
        let answer = self.elsewhere.as_ref()?.call_tried_out(context, params).await?;
        Some(answer.map(|values| results.iter_mut().zip(values).for_each(|(slot, value)| *slot = value)))
    }

    /// As [`Link::call`], for a call with flat values that is for a version that another host tries out.
    async fn call_flat_elsewhere<P: Flat, R: Flat>(
        &self,
        context: &CallContext,
        now: Instant,
        param: P,
    ) -> Result<R, CallError> {
        let (params, mut results) = ([param.into_val()], [Val::Bool(false)]);
        self.call(context, now, &params, &mut results).await?;
        let [result] = results;
        let other = "its result is of another type than its caller's";
        R::from_val(result).ok_or_else(|| CallError::new(self.target.component(), Failure::Mismatch, other))
    }

    /// Calls the target; the clock has just shown `now`.
    async fn call(
        &self,
        from: &CallContext,
        now: Instant,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<(), CallError> {
        let Some(context) = from.next_at(self.target.call_deadline(), now) else {
            return Err(CallError::new(self.target.component(), Failure::TooManyHops, ""));
        };
        // Boxed, because it is rare and would enlarge the future of every call.
        if self.is_elsewhere(from)
            && let Some(answer) = Box::pin(self.call_elsewhere(from, params, &mut *results)).await
        {
            return answer;
        }
        if !self.own_task {
            return self.target.call_from_into(&self.caller, self.position, params, results, context).await;
        }
        let values = self.target.call_from_spawned(&self.caller, self.position, params.to_vec(), context).await?;
        results.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
        Ok(())
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
