//! Local links: an import of one component connected to the export of another in this process.
//!
//! The two keep their own stores: plain values are handed over, nothing else. The callee runs in a task of its own under
//! its own grants and limits, with the caller's deadline, trace and hop count. A callee that is dead, late or overloaded
//! becomes the contract's own error ([`Unavailable`]); where the contract has none, the caller traps.

use super::check::{LinkTypeError, check_function};
use super::unavailable::Unavailable;
use crate::bindings::Ctx;
use crate::runtime::{CallError, Failure, Pool};
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, Val};

/// An import that could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The two sides disagree on a type, or the contract has something that cannot cross a link.
    #[error(transparent)]
    Type(#[from] LinkTypeError),
    /// The exporter lacks what is imported.
    #[error("component `{exporter}` does not export `{item}`\n  fix: {fix}")]
    Missing {
        /// The component that should export it.
        exporter: Arc<str>,
        /// The interface, or interface and function.
        item: String,
        /// What would fix it.
        fix: String,
    },
    /// The linker refused.
    #[error(
        "`{interface}` cannot be linked: {message}\n  fix: name it in one dependency only, and not one that the host itself offers"
    )]
    Linker {
        /// The imported interface.
        interface: String,
        /// wasmtime's words.
        message: String,
    },
}

/// Connects `interface`, imported by `importer`, to `export` of the component in `target`. Returns the functions, as
/// `interface#name`, whose contract has no error that could carry a dead callee.
///
/// # Errors
/// When the exporter lacks a function, or a type differs or cannot cross a link.
pub fn link(
    linker: &mut Linker<Ctx>,
    engine: &wasmtime::Engine,
    importer: &Component,
    interface: &str,
    export: &str,
    target: &Arc<Pool>,
) -> Result<Vec<String>, LinkError> {
    let missing = |item: String, fix: &str| LinkError::Missing {
        exporter: target.component().clone(),
        item,
        fix: fix.to_string(),
    };
    let refused = |e: wasmtime::Error| LinkError::Linker { interface: interface.into(), message: format!("{e:#}") };
    let exported = &target.compiled().exported;
    if !exported.functions.iter().any(|f| f.interface == export) {
        let mut offers: Vec<&str> = exported.functions.iter().map(|f| f.interface.as_str()).collect();
        offers.dedup();
        let offers = if offers.is_empty() { "nothing".to_string() } else { offers.join(", ") };
        return Err(missing(export.to_string(), &format!("it exports {offers}; name one of these in the dependency")));
    }
    let mut uncovered = Vec::new();
    let component_type = importer.component_type();
    let Some(ComponentItem::ComponentInstance(import)) = component_type.get_import(engine, interface).map(|i| i.ty)
    else {
        return Ok(uncovered);
    };
    let mut instance = linker.instance(interface).map_err(refused)?;
    for (name, item) in import.exports(engine) {
        let ty = match item.ty {
            ComponentItem::ComponentFunc(ty) => ty,
            ComponentItem::Type(_) => continue,
            _ => return Err(LinkTypeError::not_a_function(interface, name).into()),
        };
        let position = exported
            .position(export, name)
            .ok_or_else(|| missing(format!("{export}#{name}"), "build both components against the same contract"))?;
        if let Some(function) = exported.functions.get(position) {
            check_function(interface, name, &ty, &function.ty)?;
        }
        let unavailable = Unavailable::of(&ty);
        if unavailable.is_none() {
            uncovered.push(format!("{interface}#{name}"));
        }
        let call = Arc::new(Link { target: target.clone(), position, unavailable });
        define(&mut instance, name, &ty, call).map_err(refused)?;
    }
    Ok(uncovered)
}

fn define(
    instance: &mut wasmtime::component::LinkerInstance<'_, Ctx>,
    name: &str,
    ty: &ComponentFunc,
    link: Arc<Link>,
) -> wasmtime::Result<()> {
    if ty.async_() {
        instance.func_new_concurrent(name, move |accessor, _ty, params, results| {
            let context = accessor.with(|mut store| store.data_mut().call.clone());
            let link = link.clone();
            Box::pin(async move { link.call(context, params, results).await })
        })
    } else {
        instance.func_new_async(name, move |store: StoreContextMut<'_, Ctx>, _ty, params, results| {
            let context = store.data().call.clone();
            let link = link.clone();
            Box::new(async move { link.call(context, params, results).await })
        })
    }
}

/// One function of one link.
struct Link {
    target: Arc<Pool>,
    position: usize,
    unavailable: Option<Unavailable>,
}

impl Link {
    async fn call(
        &self,
        context: crate::call::CallContext,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let outcome = match context.next(self.target.call_deadline()) {
            Some(context) => self.target.call(self.position, params.to_vec(), context).await,
            None => Err(CallError::new(self.target.component(), Failure::TooManyHops, "")),
        };
        match outcome {
            Ok(values) => {
                for (slot, value) in results.iter_mut().zip(values) {
                    *slot = value;
                }
                Ok(())
            }
            Err(error) => {
                match error.failure {
                    // There may be thousands of them, and each caller hears of its own.
                    Failure::Overloaded => {
                        tracing::debug!(component = %error.component, trace = %context.trace, "{error}");
                    }
                    _ => tracing::warn!(component = %error.component, trace = %context.trace, "{error}"),
                }
                match (&self.unavailable, results.first_mut()) {
                    (Some(unavailable), Some(slot)) => {
                        *slot = unavailable.value(&error.message());
                        Ok(())
                    }
                    _ => Err(wasmtime::Error::msg(error.message())),
                }
            }
        }
    }
}
