//! One typed call into a component.
//!
//! It runs in its caller's task, because a new task costs more than the call of a small function. Only the work of a
//! guest after its return, and a call from within another store's event loop, run in their own task.

use super::error::{CallError, Failure};
use super::flat::{AnyValues, Values};
use super::panic;
use super::pool::{InUse, Lease, Pool};
use super::recorded;
use super::trial::{CountedCall, Outcome};
use crate::report::Report;
use souk_bindings::MAX_LINE_BYTES;
use souk_bindings::call::CallContext;
use souk_bindings::trace::{Record, SharedRedaction};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use wasmtime::component::Val;
use wasmtime::{Result, Trap};

impl Pool {
    /// Calls the function at position `function` of the component's exports, in the caller's task. Dropping the future
    /// drops the callee's instance and everything that it holds.
    ///
    /// Not for callers inside another store's event loop, see [`Pool::call_from_spawned`]; a host function for which
    /// its guest waits (`func_new_async`) is outside.
    ///
    /// # Errors
    /// When no instance was available, the guest trapped, or `context`'s deadline passed.
    pub async fn call(
        self: &Arc<Self>,
        function: usize,
        params: &[Val],
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let version = self.choose(context.draw);
        let position = self.position_in(&version, function)?;
        let mut results = vec![Val::Bool(false); version.0.results(position)];
        let mut values = AnyValues { params, results: &mut results };
        self.call_version(version, position, &mut values, context).await?;
        Ok(results)
    }

    /// The position in `version` of a function in the component's table.
    pub(super) fn position_in(&self, version: &InUse, function: usize) -> Result<usize, CallError> {
        let position = version.0.position(function);
        position.ok_or_else(|| self.error(Failure::NotExported, format_args!("function {function}")))
    }

    pub(super) async fn call_version(
        self: &Arc<Self>,
        version: InUse,
        position: usize,
        values: &mut impl Values,
        mut context: CallContext,
    ) -> Result<(), CallError> {
        let number = version.0.id().number;
        let mut crossing = version.0.calls.get(position).map(|calls| calls.open(&context.span));
        if let (Some(crossing), Some(traced), Some(params)) =
            (&mut crossing, version.0.values.get(position), values.params())
        {
            crossing.note(Record::ARGUMENTS, || traced.arguments(params));
        }
        let traced = crossing.is_some().then(|| version.0.values.get(position).cloned()).flatten();
        if let Some(crossing) = &crossing {
            crossing.enter(&mut context);
        }
        if let Some(step) = version.0.steps.get(position) {
            context.path.push(*step);
        }
        let taped = values.params().and_then(|params| version.0.record_call(position, params, &mut context));
        let counted = CountedCall::begin(&version.0.tally);
        let called = {
            let mut call = pin!(self.call_crossing(version, position, &mut *values, context));
            call.as_mut().await
        };
        if let Some((tape, codec)) = taped {
            recorded::end_call(&tape, &codec, &called, values.results().unwrap_or_default());
        }
        if let Some(mut crossing) = crossing {
            match (&called, traced, values.results()) {
                (Err(error), ..) => crossing.fails(|| error.to_string()),
                (Ok(()), Some(traced), Some(results)) => crossing.note(Record::RESULT, || traced.result(results)),
                (Ok(()), ..) => {}
            }
            crossing.close_with(&called, |error| error.failure.key());
        }
        counted.end(|| match &called {
            Err(error) => Outcome::of_failure(error.failure),
            Ok(()) if values.results().is_some_and(is_refusal) => Some(Outcome::Refused),
            Ok(()) => Some(Outcome::Good),
        });
        called.map_err(|error| error.of_version(number))
    }

    async fn call_crossing(
        self: &Arc<Self>,
        version: InUse,
        position: usize,
        values: &mut impl Values,
        context: CallContext,
    ) -> Result<(), CallError> {
        let (deadline, trace) = (context.deadline, context.trace.clone());
        let mut run = pin!(self.run(version, position, values, context));
        let returned = match tokio::time::timeout_at(deadline, run.as_mut()).await {
            Ok(returned) => returned?,
            Err(_) => return Err(self.late()),
        };
        if let Some(lease) = returned {
            self.clone().go_on(lease, deadline, trace);
        }
        Ok(())
    }

    /// Calls the guest until it returns. Returns the lease if the guest still works after its return.
    async fn run(
        self: &Arc<Self>,
        version: InUse,
        position: usize,
        values: &mut impl Values,
        context: CallContext,
    ) -> Result<Option<Lease>, CallError> {
        let mut lease = self.lease(version, context).await?;
        match invoke(&mut lease, position, values).await {
            Ok(true) => {
                lease.give_back();
                Ok(None)
            }
            Ok(false) => Ok(Some(lease)),
            Err(error) => Err(self.trapped(&error, &mut lease).await),
        }
    }

    /// Lets a guest go on after its return, until the deadline of its call. This cannot change the call's result and
    /// nobody waits for it, so it runs in a new task. A failure counts against the version, whose call has ended well.
    pub(super) fn go_on(self: Arc<Self>, mut lease: Lease, deadline: tokio::time::Instant, trace: Arc<str>) {
        tokio::spawn(async move {
            let (version, start) = (lease.version.0.id().number, tokio::time::Instant::now());
            let ended = match tokio::time::timeout_at(deadline, finish(&mut lease)).await {
                Ok(Err(error)) => Err(self.trapped(&error, &mut lease).await),
                Ok(Ok(())) => Ok(()),
                Err(_) => Err(self.late()),
            };
            match ended {
                Ok(()) => lease.give_back(),
                Err(error) => {
                    tracing::error!(component = %self.component(), version, trace = %trace, "after its return: {error}");
                    if let Some(outcome) = Outcome::of_failure(error.failure) {
                        lease.version.0.tally.note(outcome, start.elapsed());
                    }
                }
            }
        });
    }

    /// The values that no text of the component may bring into the log or the reason of a failure.
    pub fn hidden(&self) -> &SharedRedaction {
        self.boundaries.hidden()
    }

    /// The detail of an error as the log may have it: what a failed guest or its engine says can contain a secret.
    pub(super) fn shown(&self, failure: Failure, detail: &impl std::fmt::Display) -> String {
        match failure {
            Failure::Trapped | Failure::Instantiation => self.hidden().beginning(&detail.to_string(), MAX_LINE_BYTES),
            // The host's own words; an overload has thousands.
            _ => detail.to_string(),
        }
    }

    /// The error of a call that had not ended at its deadline.
    pub(super) fn late(&self) -> CallError {
        self.error(Failure::Deadline, "raise its limit `call_deadline`, or that of a caller, if it needs longer")
    }

    /// The error of a call whose guest trapped with `error`. The text begins with what the guest printed, followed by
    /// its stack.
    pub(super) async fn trapped(&self, error: &wasmtime::Error, lease: &mut Lease) -> CallError {
        let guest = lease.instance.store.data_mut();
        if guest.limits.take_refused() {
            lease.version.0.tally.note_memory();
        }
        // The epoch callback interrupts a guest whose deadline has passed.
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => self.late(),
            // wasmtime has no type for this error.
            _ if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") => {
                let (component, most) = (self.component(), self.limits.call_bytes.as_u64());
                let detail = format!(
                    "it passed more than {most} bytes of values in one call; split them, or raise `call_bytes` under \
                     [component.{component}.tool.souk.limits] in the manifest"
                );
                self.error(Failure::Trapped, detail)
            }
            _ => {
                let report = Report::of(error, guest.last_words(), guest.call.path);
                let symbols = lease.version.0.compiled.symbols.clone();
                // Boxed, because it is rare and the future of a call is already large.
                let text = Box::pin(async move { report.text(symbols.as_ref()).await }).await;
                self.error(Failure::Trapped, text)
            }
        }
    }
}

/// Whether a function has returned an error of its contract.
fn is_refusal(results: &[Val]) -> bool {
    matches!(results.first(), Some(Val::Result(Err(_))))
}

/// Calls the guest and waits for its results; returns whether it does nothing after its return.
async fn invoke(lease: &mut Lease, function: usize, values: &mut impl Values) -> Result<bool> {
    let instance = &mut lease.instance;
    let Some(func) = instance.functions.get(function).copied() else {
        wasmtime::bail!("function {function} does not exist");
    };
    let slice = instance.store.data().slice.clone();
    let call = pin!(instance.store.run_concurrent(async |accessor| {
        values.call(func, accessor).await?;
        let done = std::future::poll_fn(|cx| Poll::Ready(accessor.poll_no_interesting_tasks(cx).is_ready())).await;
        wasmtime::error::Ok(done)
    }));
    panic::drive(&slice, call).await?
}

/// Waits until the guest has ended its work after its return; only then its instance is free.
async fn finish(lease: &mut Lease) -> Result<()> {
    let store = &mut lease.instance.store;
    let slice = store.data().slice.clone();
    let rest = pin!(store.run_concurrent(async |accessor| {
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
    }));
    panic::drive(&slice, rest).await
}
