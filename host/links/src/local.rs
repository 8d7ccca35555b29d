//! Local links: an import of one component connected to the export of another in this process.
//!
//! The two keep their own stores: plain values are handed over, nothing else. The callee runs in a task of its own under
//! its own grants and limits, with the caller's deadline, trace and hop count. A callee that is dead, late or overloaded
//! becomes the contract's own error ([`Unavailable`]); where the contract has none, the caller traps.

use super::import::{Import, LinkError, define};
use super::unavailable::{Unavailable, write_results};
use souk_bindings::Ctx;
use souk_bindings::call::CallContext;
use souk_runtime::{CallError, Failure, Pool};
use std::sync::Arc;
use wasmtime::component::{Linker, Val};

/// Connects `import` to `target`, which answers it. Returns the functions, as `interface#name`, whose contract has no
/// error that could carry a dead callee.
///
/// # Errors
/// When the exporter lacks a function, or a type differs or cannot cross a link.
pub fn link(linker: &mut Linker<Ctx>, import: &Import<'_>, target: &Arc<Pool>) -> Result<Vec<String>, LinkError> {
    let functions = import.functions()?;
    let mut functions_without_unavailable = Vec::new();
    let mut instance = import.instance(linker)?;
    for function in functions {
        let unavailable = Unavailable::of(&function.ty);
        if unavailable.is_none() {
            functions_without_unavailable.push(format!("{}#{}", import.interface, function.name));
        }
        // It is there: its type has just been compared.
        let Some(position) = target.compiled().exported.position(import.export, &function.name) else { continue };
        let link = Arc::new(Link { target: target.clone(), position, unavailable });
        define(&mut instance, &function.name, &function.ty, move |context, params, results| {
            let link = link.clone();
            Box::pin(async move {
                let outcome = link.call(&context, params).await;
                write_results(outcome, link.unavailable.as_ref(), results, &context)
            })
        })
        .map_err(|error| import.refused(&error))?;
    }
    Ok(functions_without_unavailable)
}

/// One function of one link.
struct Link {
    target: Arc<Pool>,
    position: usize,
    unavailable: Option<Unavailable>,
}

impl Link {
    async fn call(&self, context: &CallContext, params: &[Val]) -> Result<Vec<Val>, CallError> {
        match context.next(self.target.call_deadline()) {
            Some(context) => self.target.call(self.position, params.to_vec(), context).await,
            None => Err(CallError::new(self.target.component(), Failure::TooManyHops, "")),
        }
    }
}
