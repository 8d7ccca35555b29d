//! Calls over links of a component that is recorded or replayed: their values are in the recording, as JSON.

use super::import::{Answer, Answers, define};
use serde_json::value::RawValue;
use souk_bindings::Ctx;
use souk_bindings::call::CallContext;
use souk_bindings::tape::{Entered, Tape};
use souk_codec::FunctionCodec;
use std::sync::{Arc, OnceLock};
use wasmtime::bail;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, Val};

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
                Entered::Live(slot) => {
                    Box::into_pin(self.link.clone().answer(context, params, &mut *results)).await?;
                    let json = String::from_utf8(codec.encode_results(results)?)?;
                    tape.fill_raw(slot, RawValue::from_string(json)?);
                }
                Entered::Known(json) => {
                    let values = codec.decode_results(json.get().as_bytes())?;
                    results.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
                }
            }
            Ok(())
        })
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

    fn enter(&self, tape: &Tape, params: &[Val]) -> wasmtime::Result<Entered> {
        let arguments = String::from_utf8(self.codec()?.encode_params(params)?)?;
        tape.enter(&self.import, arguments)
    }
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
