//! Local links: an import of one component connected to the export of another in this process.
//!
//! The two keep their own stores: plain values are handed over, nothing else. The callee runs in a task of its own under
//! its own grants and limits, with the caller's deadline, trace and hop count. A callee that is dead, late or overloaded
//! becomes the contract's own error ([`Unavailable`]); where the contract has none, the caller traps.

use super::import::{Import, LinkError, define};
use super::unavailable::Unavailable;
use crate::bindings::Ctx;
use crate::runtime::{CallError, Failure, Pool};
use std::sync::Arc;
use wasmtime::component::{Linker, Val};

/// Connects `import` to the component that answers it. Returns the functions, as `interface#name`, whose contract has
/// no error that could carry a dead callee.
///
/// # Errors
/// When the exporter lacks a function, or a type differs or cannot cross a link.
pub fn link(linker: &mut Linker<Ctx>, import: &Import<'_>) -> Result<Vec<String>, LinkError> {
    let functions = import.functions()?;
    let mut uncovered = Vec::new();
    let mut instance = import.instance(linker)?;
    for function in functions {
        let unavailable = Unavailable::of(&function.ty);
        if unavailable.is_none() {
            uncovered.push(format!("{}#{}", import.interface, function.name));
        }
        let link = Arc::new(Link { target: import.target.clone(), position: function.position, unavailable });
        define(&mut instance, &function.name, &function.ty, move |context, params, results| {
            let link = link.clone();
            Box::pin(async move { link.call(context, params, results).await })
        })
        .map_err(|error| import.refused(&error))?;
    }
    Ok(uncovered)
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
