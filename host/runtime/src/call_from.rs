//! Calls whose caller says which type it is built for, which may be another one than the version has
//! ([`caller`](super::caller)).

use super::caller::CallerType;
use super::error::{CallError, Failure};
use super::flat::AnyValues;
use super::pool::{InUse, Pool};
use souk_bindings::call::CallContext;
use souk_bindings::pending;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Val;

impl Pool {
    /// Calls a function like [`Pool::call`], for a caller that is built for the type `caller`.
    ///
    /// # Errors
    /// As [`Pool::call`]; also when the caller's type does not fit the version's.
    pub async fn call_from(
        self: &Arc<Self>,
        caller: &CallerType,
        function: usize,
        params: &[Val],
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let mut results = vec![Val::Bool(false); caller.codec().result_count()];
        self.call_from_into(caller, function, params, &mut results, context).await?;
        Ok(results)
    }

    /// Like [`Pool::call_from`], but writes the results into `results`, which has a place for each result of the
    /// caller's type.
    ///
    /// # Errors
    /// As [`Pool::call_from`].
    pub async fn call_from_into(
        self: &Arc<Self>,
        caller: &CallerType,
        function: usize,
        params: &[Val],
        results: &mut [Val],
        context: CallContext,
    ) -> Result<(), CallError> {
        let version = self.choose(context.draw);
        let position = self.position_in(&version, function)?;
        if version.0.has_type_of(position, caller) {
            return self.call_version(version, position, &mut AnyValues { params, results }, context).await;
        }
        // Boxed, so that the future of a call with the same type stays smaller.
        Box::pin(self.call_other(caller, version, position, params, results, context)).await
    }

    /// Like [`Pool::call_from`], in a new task, which ends with the future. For callers inside another store's event
    /// loop, because wasmtime 48 cannot run a second one in it ("Recursive `run_concurrent` calls not supported").
    ///
    /// The caller may compute while its answers come, so what waits for it counts as the application's memory.
    ///
    /// # Errors
    /// As [`Pool::call_from`]; also when the application has no memory left for the results.
    pub async fn call_from_spawned(
        self: &Arc<Self>,
        caller: &Arc<CallerType>,
        function: usize,
        params: Vec<Val>,
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let (pool, caller) = (self.clone(), caller.clone());
        let call = async move {
            let results = pool.call_from(&caller, function, &params, context).await?;
            let bytes = pending::values(&results);
            let held = pool.active().grants().budget.hold(bytes as u64).ok_or_else(|| {
                let why =
                    format_args!("the application has no memory for the {bytes} bytes (limit `application_memory`)");
                pool.error(Failure::ResponseTooLarge, why)
            })?;
            Ok((results, held))
        };
        match AbortOnDropHandle::new(tokio::spawn(call)).await {
            Ok(returned) => returned.map(|(results, _held)| results),
            Err(join) => Err(self.error(Failure::Trapped, format_args!("the call's task ended: {join}"))),
        }
    }

    async fn call_other(
        self: &Arc<Self>,
        caller: &CallerType,
        version: InUse,
        position: usize,
        params: &[Val],
        results: &mut [Val],
        context: CallContext,
    ) -> Result<(), CallError> {
        let differ = || self.error(Failure::Mismatch, "its caller is built for another type of the function");
        let codec = version.0.types.get(position).and_then(|own| own.codec_for(caller)).ok_or_else(differ)?;
        let params = codec.adopt_params(caller.codec(), params.to_vec()).ok_or_else(differ)?;
        let mut own = vec![Val::Bool(false); version.0.results(position)];
        let mut values = AnyValues { params: &params, results: &mut own };
        self.call_version(version, position, &mut values, context).await?;
        let adopted = caller.codec().adopt_results(own).ok_or_else(differ)?;
        results.iter_mut().zip(adopted).for_each(|(slot, value)| *slot = value);
        Ok(())
    }
}
