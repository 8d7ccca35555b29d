//! Values that cross a link without wasmtime's `Val`, because a function's whole signature is bytes or text:
//! `func(input: list<u8>) -> list<u8>`, with `string` on either side.
//!
//! `Val` has no form for bytes: a byte of a list takes 40 bytes of memory and 34 ns. Where the types of a call are known
//! when the host is compiled, a list is copied as a whole. These are the only such types, because the host knows no
//! contract: a record's type is known at run time alone.

use super::caller::CallerType;
use super::error::{CallError, Failure};
use super::pool::Pool;
use bytes::Bytes;
use souk_bindings::Ctx;
use souk_bindings::call::CallContext;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Accessor, ComponentType, Func, Lift, Lower, Val};

/// A value that can cross a link as a whole.
pub trait Flat: ComponentType + Lift + Lower + Send + Sync + 'static {
    /// How many bytes it has.
    fn bytes(&self) -> usize;

    /// The value as a `Val`.
    fn into_val(self) -> Val;

    /// The value of a `Val` of its type; `None` for another type.
    fn from_val(val: Val) -> Option<Self>;
}

impl Flat for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn into_val(self) -> Val {
        Val::List(self.into_iter().map(Val::U8).collect())
    }

    fn from_val(val: Val) -> Option<Self> {
        let Val::List(values) = val else { return None };
        values.into_iter().map(|value| if let Val::U8(byte) = value { Some(byte) } else { None }).collect()
    }
}

impl Flat for String {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn into_val(self) -> Val {
        Val::String(self)
    }

    fn from_val(val: Val) -> Option<Self> {
        if let Val::String(text) = val { Some(text) } else { None }
    }
}

/// The values of one call, on their way from the caller into the instance and back.
pub(super) trait Values: Send {
    /// Calls `func` with the parameters, and keeps its results.
    fn call(&mut self, func: Func, accessor: &Accessor<Ctx>) -> impl Future<Output = Result<()>> + Send;

    /// The parameters, for traces and recordings.
    fn params(&self) -> Option<&[Val]>;

    /// The results, once there are some.
    fn results(&self) -> Option<&[Val]>;
}

/// Values of any type.
pub(super) struct AnyValues<'a> {
    pub(super) params: &'a [Val],
    /// A place for each result.
    pub(super) results: &'a mut [Val],
}

impl Values for AnyValues<'_> {
    async fn call(&mut self, func: Func, accessor: &Accessor<Ctx>) -> Result<()> {
        func.call_concurrent(accessor, self.params, self.results).await
    }

    fn params(&self) -> Option<&[Val]> {
        Some(self.params)
    }

    fn results(&self) -> Option<&[Val]> {
        Some(self.results)
    }
}

/// One flat parameter and one flat result.
struct FlatValues<P, R> {
    param: Option<P>,
    result: Option<R>,
}

impl<P: Flat, R: Flat> Values for FlatValues<P, R> {
    async fn call(&mut self, func: Func, accessor: &Accessor<Ctx>) -> Result<()> {
        let typed = accessor.with(|store| func.typed::<(P,), (R,)>(store))?;
        let Some(param) = self.param.take() else { wasmtime::bail!("a call has its parameter once") };
        let (result,) = typed.call_concurrent(accessor, (param,)).await?;
        self.result = Some(result);
        Ok(())
    }

    fn params(&self) -> Option<&[Val]> {
        None
    }

    fn results(&self) -> Option<&[Val]> {
        None
    }
}

impl Pool {
    /// Calls a function like [`Pool::call_from_into`], with one flat parameter and one flat result. Where a trace or a
    /// recording has the call's values, or the version has another type, they cross as `Val`.
    ///
    /// # Errors
    /// As [`Pool::call_from`].
    pub async fn call_flat<P: Flat, R: Flat>(
        self: &Arc<Self>,
        caller: &CallerType,
        function: usize,
        param: P,
        context: CallContext,
    ) -> Result<R, CallError> {
        let no_result = || self.error(Failure::Mismatch, "its result is of another type than its caller's");
        let version = self.choose(context.draw);
        let position = self.position_in(&version, function)?;
        if !version.0.keeps_values() && version.0.has_type_of(position, caller) {
            let mut values = FlatValues { param: Some(param), result: None };
            self.call_version(version, position, &mut values, context).await?;
            return values.result.ok_or_else(no_result);
        }
        drop(version);
        let mut results = [Val::Bool(false)];
        Box::pin(self.call_from_into(caller, function, &[param.into_val()], &mut results, context)).await?;
        let [result] = results;
        R::from_val(result).ok_or_else(no_result)
    }
}
