//! Defines the functions of links in the caller's linker. The calls of a component that is recorded or replayed pass through
//! the recording, as JSON.

use super::answers::{Answer, Answers, answer_as_vals};
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::value::RawValue;
use souk_bindings::Ctx;
use souk_bindings::call::CallContext;
use souk_bindings::pending;
use souk_bindings::tape::{ResultSource, Tape};
use souk_codec::FunctionCodec;
use souk_runtime::Flat;
use std::future::ready;
use std::sync::{Arc, OnceLock};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, Linker, LinkerInstance, Val};
use wasmtime::{StoreContextMut, bail};

/// What answers a function of a link, whose calls are recorded and replayed where their context says so.
pub(super) struct Taped<L> {
    import: String,
    ty: ComponentFunc,
    /// Made for the first call that needs it.
    codec: OnceLock<Option<FunctionCodec>>,
    link: Arc<L>,
}

impl<L: Answers> Answers for Taped<L> {
    fn answer<'a>(self: Arc<Self>, context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        let Some(tape) = context.tape.clone() else { return self.link.clone().answer(context, params, results) };
        // Now, and not when the call is first driven: imports are compared in the order in which they are called.
        let entered = self.enter(&tape, params);
        Box::new(async move {
            let codec = self.codec()?;
            match entered? {
                ResultSource::Live(slot) => {
                    Box::into_pin(self.link.clone().answer(context, params, &mut *results)).await?;
                    let json = String::from_utf8(codec.encode_results(results)?)?;
                    tape.fill_raw(slot, RawValue::from_string(json)?);
                }
                ResultSource::Known(json) => {
                    let values = codec.decode_results(json.get().as_bytes())?;
                    results.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
                }
            }
            Ok(())
        })
    }

    async fn answer_flat<P: Flat, R: Flat>(self: Arc<Self>, context: CallContext, param: P) -> wasmtime::Result<R> {
        if context.tape.is_none() {
            return self.link.clone().answer_flat(context, param).await;
        }
        answer_as_vals(self, context, param).await
    }
}

impl<L: Answers> Taped<L> {
    /// The function `name` of `interface`, which `link` answers.
    pub(super) fn new(interface: &str, name: &str, ty: &ComponentFunc, link: Arc<L>) -> Arc<Self> {
        Arc::new(Taped { import: format!("{interface}#{name}"), ty: ty.clone(), codec: OnceLock::new(), link })
    }

    fn codec(&self) -> wasmtime::Result<&FunctionCodec> {
        match self.codec.get_or_init(|| FunctionCodec::of(&self.ty).ok()) {
            Some(codec) => Ok(codec),
            None => bail!("{} has a value that JSON cannot represent", self.import),
        }
    }

    fn enter(&self, tape: &Tape, params: &[Val]) -> wasmtime::Result<ResultSource> {
        let arguments = String::from_utf8(self.codec()?.encode_params(params)?)?;
        tape.enter(&self.import, arguments)
    }
}

/// Defines a function that `link` answers.
///
/// A `func` waits for the answer on the caller's own stack, where another store's event loop may run. An `async func`
/// is polled within the caller's event loop, and wasmtime 48 panics when a second event loop runs inside it: work with
/// another store needs a task of its own there.
pub(super) fn define(
    instance: &mut LinkerInstance<'_, Ctx>,
    interface: &str,
    name: &str,
    ty: &ComponentFunc,
    link: Arc<impl Answers>,
) -> wasmtime::Result<()> {
    let link = Taped::new(interface, name, ty, link);
    if ty.async_() {
        instance.func_new_concurrent(name, move |accessor, _ty, params, results| {
            // The values are held a second time, for the callee's task.
            let bytes = pending::values(params).saturating_mul(2);
            let begun = accessor.with(|mut store| {
                let ctx = store.data_mut();
                ctx.begin_call(bytes).map(|call| (call, ctx.call.clone()))
            });
            let (call, context) = match begun {
                Ok(begun) => begun,
                Err(error) => return Box::pin(ready(Err(error))),
            };
            let answer = Box::into_pin(link.clone().answer(context, params, results));
            Box::pin(async move {
                let answered = answer.await;
                drop(call);
                answered
            })
        })
    } else if let Some(sides) = flat_sides(ty) {
        match sides {
            [Side::Bytes, Side::Bytes] => define_flat::<Bytes, Bytes>(instance, name, link),
            [Side::Bytes, Side::Text] => define_flat::<Bytes, String>(instance, name, link),
            [Side::Text, Side::Bytes] => define_flat::<String, Bytes>(instance, name, link),
            [Side::Text, Side::Text] => define_flat::<String, String>(instance, name, link),
        }
    } else {
        instance.func_new_async(name, move |store: StoreContextMut<'_, Ctx>, _ty, params, results| {
            let ctx = store.data();
            let begun = ctx.begin_waiting_call(pending::values(params));
            // The callee may compute in this same task: the caller only waits, so it gives its slice back.
            ctx.slice.release();
            match begun {
                Ok(None) => link.clone().answer(ctx.call.clone(), params, results),
                Ok(Some(call)) => {
                    let answer = Box::into_pin(link.clone().answer(ctx.call.clone(), params, results));
                    Box::new(answer.map(move |answered| {
                        drop(call);
                        answered
                    }))
                }
                Err(refused) => Box::new(ready(Err(refused))),
            }
        })
    }
}

/// A side of a call that is bytes or text as a whole.
#[derive(Clone, Copy)]
enum Side {
    Bytes,
    Text,
}

impl Side {
    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::List(list) if list.ty() == Type::U8 => Some(Side::Bytes),
            Type::String => Some(Side::Text),
            _ => None,
        }
    }
}

/// The parameter and the result of a function, if these are its whole signature.
fn flat_sides(ty: &ComponentFunc) -> Option<[Side; 2]> {
    let (mut params, mut results) = (ty.params(), ty.results());
    let (Some((_, param)), None) = (params.next(), params.next()) else { return None };
    let (Some(result), None) = (results.next(), results.next()) else { return None };
    Some([Side::of(&param)?, Side::of(&result)?])
}

/// Defines a `func` whose values cross as a whole.
fn define_flat<P: Flat, R: Flat>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    link: Arc<impl Answers>,
) -> wasmtime::Result<()> {
    instance.func_wrap_async(name, move |store: StoreContextMut<'_, Ctx>, (param,): (P,)| {
        let ctx = store.data();
        let begun = ctx.begin_waiting_call(param.bytes());
        ctx.slice.release();
        let answer = link.clone().answer_flat::<P, R>(ctx.call.clone(), param);
        Box::new(async move {
            let _call = begun?;
            Ok((answer.await?,))
        })
    })
}

/// Answers a function that the recording answers.
struct Nobody;

impl Answers for Nobody {
    fn answer<'a>(self: Arc<Self>, _: CallContext, _: &'a [Val], _: &'a mut [Val]) -> Answer<'a> {
        Box::new(async { bail!("a replay makes no calls") })
    }
}

/// Defines the functions of `interface`, which `component` imports, so that a replay answers them and nobody else.
///
/// # Errors
/// When the linker has the interface already.
pub fn link_to_recording(
    linker: &mut Linker<Ctx>,
    engine: &wasmtime::Engine,
    component: &Component,
    interface: &str,
) -> anyhow::Result<()> {
    let import = component.component_type().get_import(engine, interface).map(|import| import.ty);
    let Some(ComponentItem::ComponentInstance(import)) = import else { return Ok(()) };
    let refused = |error: wasmtime::Error| anyhow::anyhow!("{interface} cannot be linked: {error:#}");
    let mut instance = linker.instance(interface).map_err(refused)?;
    for (name, item) in import.exports(engine) {
        let ComponentItem::ComponentFunc(ty) = item.ty else { continue };
        define(&mut instance, interface, name, &ty, Arc::new(Nobody)).map_err(refused)?;
    }
    Ok(())
}
