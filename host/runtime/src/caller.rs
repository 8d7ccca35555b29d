//! The type of a function as its caller knows it. It may differ from the type in the version that is called.
//!
//! A component is replaced while its callers run, and a contract may gain optional fields and cases. So each call
//! states the type that its caller was built for. Usually this is the version's own type; then only two digests are
//! compared. Otherwise each value is converted to the other type, if every value has exactly one counterpart there
//! ([`FunctionCodec::can_call`]).

use super::error::{CallError, Failure};
use super::flat::AnyValues;
use super::pool::{InUse, Pool};
use souk_bindings::call::CallContext;
use souk_bindings::pending;
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
    /// When it has a type that cannot cross a link.
    pub fn of(name: &str, ty: &ComponentFunc) -> Result<Self, CodecError> {
        Ok(CallerType { digest: digest(name, ty), codec: FunctionCodec::of(ty)? })
    }

    /// The type that `signature` describes; `None` if it is not a signature.
    pub fn read(signature: &str) -> Option<Self> {
        Some(CallerType { digest: digest_of(signature), codec: FunctionCodec::read(signature)? })
    }

    /// The same type, with values of at most `most` bytes in memory.
    #[must_use]
    pub fn within(self, most: u64) -> Self {
        CallerType { codec: self.codec.within(most), ..self }
    }

    /// The digest of the type; equal for equal types.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The codec of its values.
    pub fn codec(&self) -> &FunctionCodec {
        &self.codec
    }
}

/// The type of a function of a version.
pub(super) struct OwnType {
    digest: String,
    ty: ComponentFunc,
    /// Created for the first caller with another type.
    codec: OnceLock<Option<Arc<FunctionCodec>>>,
}

impl OwnType {
    pub(super) fn of(name: &str, ty: &ComponentFunc) -> Self {
        OwnType { digest: digest(name, ty), ty: ty.clone(), codec: OnceLock::new() }
    }

    /// Whether this is the type that `caller` is built for.
    pub(super) fn is_of(&self, caller: &CallerType) -> bool {
        self.digest == caller.digest
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
    /// As [`Pool::call`]; also when the caller's type does not fit the version's.
    pub async fn call_from(
        self: &Arc<Self>,
        caller: &CallerType,
        function: usize,
        params: &[Val],
        context: CallContext,
    ) -> Result<Vec<Val>, CallError> {
        let mut results = vec![Val::Bool(false); caller.codec.result_count()];
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
        let params = codec.adopt_params(&caller.codec, params.to_vec()).ok_or_else(differ)?;
        let mut own = vec![Val::Bool(false); version.0.results(position)];
        let mut values = AnyValues { params: &params, results: &mut own };
        self.call_version(version, position, &mut values, context).await?;
        let adopted = caller.codec.adopt_results(own).ok_or_else(differ)?;
        results.iter_mut().zip(adopted).for_each(|(slot, value)| *slot = value);
        Ok(())
    }
}
