//! One typed call into a component.

use super::error::{CallError, Failure};
use super::panic;
use super::pool::{Lease, Pool};
use souk_bindings::call::CallContext;
use std::sync::Arc;
use tokio::sync::oneshot;
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
        let (result, returned) = oneshot::channel();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let deadline = tokio::time::Instant::from_std(context.deadline);
            match tokio::time::timeout_at(deadline, pool.run(function, params, context, result)).await {
                Ok(ended) => ended,
                Err(_) => Err(pool.late()),
            }
        }));
        match returned.await {
            Ok(values) => {
                // The guest may go on after its return, with its deadline; its result stands whatever becomes of that.
                task.detach();
                Ok(values)
            }
            Err(_) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(self.error(Failure::Trapped, "the guest ended without a result")),
                Err(join) => Err(self.error(Failure::Trapped, format_args!("the call's task ended: {join}"))),
            },
        }
    }

    async fn run(
        self: &Arc<Self>,
        function: usize,
        params: Vec<Val>,
        context: CallContext,
        result: oneshot::Sender<Vec<Val>>,
    ) -> Result<(), CallError> {
        let trace = context.trace.clone();
        let mut lease = self.lease(context).await?;
        let results = match self.compiled.exported.functions.get(function) {
            Some(f) => f.ty.results().len(),
            None => return Err(self.error(Failure::NotExported, format_args!("function {function}"))),
        };
        let mut result = Some(result);
        match invoke(&mut lease, function, &params, results, &mut result).await {
            Ok(()) => {
                lease.give_back();
                Ok(())
            }
            Err(error) => {
                let error = self.trapped(&error);
                if result.is_none() {
                    tracing::error!(component = %self.component(), trace = %trace, "after its return: {error}");
                }
                Err(error)
            }
        }
    }

    /// The error of a call that was not over when its deadline passed.
    pub(super) fn late(&self) -> CallError {
        self.error(Failure::Deadline, "raise its limit `call_deadline`, or that of a caller, if it needs longer")
    }

    /// The error of a call whose guest trapped with `error`.
    pub(super) fn trapped(&self, error: &wasmtime::Error) -> CallError {
        // The epoch callback interrupts a guest whose deadline has passed.
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => self.late(),
            // wasmtime has no type for this one.
            _ if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") => {
                let (component, most) = (self.component(), self.limits.call_bytes.as_u64());
                let detail = format!(
                    "it handed over more than {most} bytes of values in one call; split them, or raise `call_bytes` under \
                     [component.{component}.tool.souk.limits] in spin.toml"
                );
                self.error(Failure::Trapped, detail)
            }
            _ => self.error(Failure::Trapped, format_args!("{error:#}")),
        }
    }
}

async fn invoke(
    lease: &mut Lease,
    function: usize,
    params: &[Val],
    results: usize,
    result: &mut Option<oneshot::Sender<Vec<Val>>>,
) -> Result<()> {
    let instance = &mut lease.instance;
    let Some(func) = instance.functions.get(function).copied() else {
        wasmtime::bail!("function {function} is not there");
    };
    let slice = instance.slice.clone();
    panic::contain(slice.run(instance.store.run_concurrent(async |accessor| {
        let mut values = vec![Val::Bool(false); results];
        func.call_concurrent(accessor, params, &mut values).await?;
        if let Some(result) = result.take() {
            // Nobody may be there to take it any more: the task is then about to be dropped.
            let _ = result.send(values);
        }
        // The instance is free only when the guest has ended what it does after its return.
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        wasmtime::error::Ok(())
    })))
    .await?
}
