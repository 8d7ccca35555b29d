//! The type of a function as its caller knows it, which may be another than that of the version that answers.
//!
//! A component is replaced while its callers run, and a contract may gain optional fields and cases meanwhile. So a call
//! says for which type it is made. Where that is the version's own, which is the rule, nothing is done but the comparison
//! of two digests; otherwise values are made into those of the other type, where each has exactly one
//! ([`FunctionCodec::can_call`]).

use super::error::{CallError, Failure};
use super::pool::{InUse, Pool};
use souk_bindings::call::CallContext;
use souk_codec::signature::{digest, digest_of};
use souk_codec::{CodecError, FunctionCodec};
use std::sync::{Arc, OnceLock};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Val;
use wasmtime::component::types::ComponentFunc;

/// The type of a function that a caller is built for.
#[derive(Debug)]
pub struct CallerType {
    digest: String,
    codec: FunctionCodec,
}

impl CallerType {
    /// The type of the function `name`.
    ///
    /// # Errors
    /// When it has what cannot cross a link.
    pub fn of(name: &str, ty: &ComponentFunc) -> Result<Self, CodecError> {
        Ok(CallerType { digest: digest(name, ty), codec: FunctionCodec::of(ty)? })
    }

    /// That which `signature` describes; `None` of a text that describes none.
    pub fn read(signature: &str) -> Option<Self> {
        Some(CallerType { digest: digest_of(signature), codec: FunctionCodec::read(signature)? })
    }

    /// The same with values of at most `most` bytes in memory.
    #[must_use]
    pub fn within(self, most: u64) -> Self {
        CallerType { codec: self.codec.within(most), ..self }
    }

    /// By which two types are told apart.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its values as JSON.
    pub fn codec(&self) -> &FunctionCodec {
        &self.codec
    }
}

/// The type of a function of a version.
pub(super) struct OwnType {
    digest: String,
    ty: ComponentFunc,
    /// Made for the first caller of another type.
    codec: OnceLock<Option<Arc<FunctionCodec>>>,
}

impl OwnType {
    pub(super) fn of(name: &str, ty: &ComponentFunc) -> Self {
        OwnType { digest: digest(name, ty), ty: ty.clone(), codec: OnceLock::new() }
    }

    /// The codec of its values, if a caller that is built for `caller` may call it.
    fn codec_for(&self, caller: &CallerType) -> Option<Arc<FunctionCodec>> {
        let codec = self.codec.get_or_init(|| FunctionCodec::of(&self.ty).ok().map(Arc::new)).clone();
        codec.filter(|codec| caller.codec.can_call(codec))
    }
}

impl Pool {
    /// Calls a function like [`Pool::call`], for a caller that is built for the type `caller`.
    ///
    /// # Errors
    /// As [`Pool::call`]; and when the version that answers has a type that such a caller cannot call.
    pub async fn call_from(
        self: &Arc<Self>,
        caller: &CallerType,
        function: usize,
        params: &[Val],
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let mut results = vec![Val::Bool(false); caller.codec.results()];
        self.call_from_into(caller, function, params, &mut results, context).await?;
        Ok(results)
    }

    /// The same, with as many places for results as the caller's type has.
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
        if version.0.types.get(position).is_some_and(|own| own.digest == caller.digest) {
            return self.call_version(version, position, params, results, context).await;
        }
        // Boxed, so that a call of the same type need not be as large.
        Box::pin(self.call_other(caller, version, position, params, results, context)).await
    }

    /// Like [`Pool::call_from`], in a task of its own, which ends with the future: for callers inside another store's event
    /// loop, in which wasmtime 48 runs no second one ("Recursive `run_concurrent` calls not supported").
    ///
    /// # Errors
    /// As [`Pool::call_from`].
    pub async fn call_from_spawned(
        self: &Arc<Self>,
        caller: &Arc<CallerType>,
        function: usize,
        params: Vec<Val>,
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let (pool, caller) = (self.clone(), caller.clone());
        let call = async move { pool.call_from(&caller, function, &params, context).await };
        match AbortOnDropHandle::new(tokio::spawn(call)).await {
            Ok(returned) => returned,
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
        let params = codec.adopt_params(&caller.codec, params.to_vec()).ok_or_else(differ)?;
        let mut own = vec![Val::Bool(false); version.0.results(position)];
        self.call_version(version, position, &params, &mut own, context).await?;
        let adopted = caller.codec.adopt_results(own).ok_or_else(differ)?;
        results.iter_mut().zip(adopted).for_each(|(slot, value)| *slot = value);
        Ok(())
    }
}
