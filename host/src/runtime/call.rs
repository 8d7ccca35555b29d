//! One typed call into a component.

use super::error::{CallError, Failure};
use super::pool::{Lease, Pool};
use crate::call::CallContext;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Val;
use wasmtime::{Result, Trap};

impl Pool {
    /// Calls the function at position `function` of the component's exports. The call runs in a task of its own: inside
    /// the caller's event loop wasmtime 48 would refuse it ("Recursive `run_concurrent` calls not supported"). Dropping
    /// the future drops the callee's instance and all that it holds.
    ///
    /// # Errors
    /// When no instance was to be had, the guest trapped, or `context`'s deadline passed.
    pub async fn call(
        self: &Arc<Self>,
        function: usize,
        params: Vec<Val>,
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let pool = self.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let deadline = tokio::time::Instant::from_std(context.deadline);
            match tokio::time::timeout_at(deadline, pool.run(function, params, context)).await {
                Ok(result) => result,
                Err(_) => Err(pool.error(Failure::Deadline, "")),
            }
        }));
        match task.await {
            Ok(result) => result,
            Err(join) => Err(self.error(Failure::Trapped, format_args!("the call's task ended: {join}"))),
        }
    }

    async fn run(
        self: &Arc<Self>,
        function: usize,
        params: Vec<Val>,
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let mut lease = self.lease(context).await?;
        let results = match self.compiled.exported.functions.get(function) {
            Some(f) => f.ty.results().len(),
            None => return Err(self.error(Failure::NotExported, "")),
        };
        match invoke(&mut lease, function, &params, results).await {
            Ok(values) => {
                lease.give_back();
                Ok(values)
            }
            Err(error) => Err(self.trapped(&error)),
        }
    }

    /// The error of a call whose guest trapped with `error`.
    pub(super) fn trapped(&self, error: &wasmtime::Error) -> CallError {
        // The epoch callback interrupts a guest whose deadline has passed.
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => self.error(Failure::Deadline, "the guest was interrupted"),
            _ => self.error(Failure::Trapped, format_args!("{error:#}")),
        }
    }
}

async fn invoke(lease: &mut Lease, function: usize, params: &[Val], results: usize) -> Result<Vec<Val>> {
    let instance = &mut lease.instance;
    let Some(func) = instance.functions.get(function).copied() else {
        wasmtime::bail!("function {function} is not there");
    };
    let mut values = vec![Val::Bool(false); results];
    let slice = instance.slice.clone();
    slice
        .run(instance.store.run_concurrent(async |accessor| {
            func.call_concurrent(accessor, params, &mut values).await?;
            // What the guest does after its return is part of the call: only then is the instance free.
            std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            wasmtime::error::Ok(())
        }))
        .await??;
    Ok(values)
}
