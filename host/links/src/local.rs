//! Local links: an import of one component connected to the export of another in this process.
//!
//! The two keep their own stores: plain values are handed over, nothing else. The callee runs under its own grants and
//! limits, with the caller's deadline, trace and hop count. A callee that is dead, late or overloaded becomes the
//! contract's own error ([`Unavailable`]); where the contract has none, the caller traps.
//!
//! **The importer's type decides where the callee runs**, whatever the exporter's is. For a `func` it runs in the caller's
//! task, which costs a microsecond or two and copies no parameter. For an `async func`, which is polled within the
//! caller's event loop, it needs a task of its own (see [`define`](super::import::define)).

use super::check::LinkTypeError;
use super::import::{Answer, Answers, Import, LinkError};
use super::unavailable::{Unavailable, write_outcome};
use souk_bindings::Ctx;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::CallContext;
use souk_runtime::{CallError, CallerType, Failure, Pool};
use std::sync::Arc;
use wasmtime::component::{Linker, Val};

/// Connects `import` of the component `caller` to `target`, which answers it. Returns the functions, as `interface#name`,
/// whose contract has no error that could carry a dead callee.
///
/// # Errors
/// When the exporter lacks a function, or a type differs or cannot cross a link.
pub fn link(
    linker: &mut Linker<Ctx>,
    import: &Import<'_>,
    caller: &str,
    target: &Arc<Pool>,
    boundaries: &Boundaries,
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
            boundary: boundaries.links(caller, target.component(), &name),
        })
    })
}

/// One function of one link.
struct Link {
    target: Arc<Pool>,
    /// What the caller is built for.
    caller: Arc<CallerType>,
    position: usize,
    unavailable: Option<Unavailable>,
    /// Whether the callee needs a task of its own.
    own_task: bool,
    /// What a call crosses on its way.
    boundary: Boundary,
}

impl Answers for Link {
    fn answer<'a>(self: Arc<Self>, mut context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        Box::new(async move {
            let crossing = self.boundary.open(&context.span);
            crossing.enter(&mut context);
            let outcome = self.call(&context, params, results).await;
            crossing.close_with(&outcome, |error| error.failure.key());
            write_outcome(outcome, self.unavailable.as_ref(), results, &context)
        })
    }
}

impl Link {
    async fn call(&self, context: &CallContext, params: &[Val], results: &mut [Val]) -> Result<(), CallError> {
        let Some(context) = context.next(self.target.call_deadline()) else {
            return Err(CallError::new(self.target.component(), Failure::TooManyHops, ""));
        };
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
