//! Turns the failure of a dead, late or overloaded callee into an error that its caller can handle.
//!
//! An error of a host function traps the calling component, so one broken callee would take its callers down with it. A
//! contract therefore has an error case for this: the host answers with `unavailable` or, in the contracts of durable
//! links, with `retry`. A function without such a case is linked with a warning at start-up, and a dead callee then
//! traps its caller.
//!
//! The guest learns which component did not answer and, in a few words, why. Details such as a backtrace or an address
//! go to the log only.

use souk_bindings::call::CallContext;
use souk_runtime::{CallError, Failure};
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

/// The cases that mean "the callee could not answer; trying again may help", in order of preference.
const CASES: [&str; 2] = ["unavailable", "retry"];

/// The error that a function returns when its callee could not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    case: &'static str,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A variant's case with a string as its payload, which holds the message.
    Message,
    /// A variant's case without payload.
    Bare,
    /// A name of an enum.
    Enum,
}

impl Unavailable {
    /// Finds the case in the error of a function's result: `unavailable`, or otherwise `retry`, with a string or
    /// nothing as its payload. `None` when the function has no such error. It is called at start-up only.
    pub fn of(func: &ComponentFunc) -> Option<Unavailable> {
        let Some(Type::Result(result)) = func.results().next() else { return None };
        let error = result.err()?;
        CASES.into_iter().find_map(|case| Some(Unavailable { case, form: form(&error, case)? }))
    }

    /// The function's result: an error, with `message` if the contract's case has a payload.
    pub fn value(&self, message: &str) -> Val {
        let case = self.case.to_owned();
        let error = match self.form {
            Form::Message => Val::Variant(case, Some(Box::new(Val::String(message.to_owned())))),
            Form::Bare => Val::Variant(case, None),
            Form::Enum => Val::Enum(case),
        };
        Val::Result(Err(Some(Box::new(error))))
    }
}

/// Writes the outcome of a call into the caller's `results`, and logs why a call failed.
///
/// # Errors
/// When the call failed and the contract has no error for that: the caller then traps.
pub(super) fn write_results(
    outcome: Result<Vec<Val>, CallError>,
    unavailable: Option<&Unavailable>,
    results: &mut [Val],
    context: &CallContext,
) -> wasmtime::Result<()> {
    let outcome = outcome.map(|values| results.iter_mut().zip(values).for_each(|(slot, value)| *slot = value));
    write_outcome(outcome, unavailable, results, context)
}

/// As [`write_results`], for a call that writes its own results when it succeeds.
///
/// # Errors
/// As [`write_results`].
pub(super) fn write_outcome(
    outcome: Result<(), CallError>,
    unavailable: Option<&Unavailable>,
    results: &mut [Val],
    context: &CallContext,
) -> wasmtime::Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let trap = failed(&error, context);
    match (unavailable, results.first_mut()) {
        (Some(unavailable), Some(slot)) => {
            *slot = unavailable.value(&error.message());
            Ok(())
        }
        _ => Err(trap),
    }
}

/// Logs why a call failed; returns the trap for a caller whose contract has no error for that.
pub(super) fn failed(error: &CallError, context: &CallContext) -> wasmtime::Error {
    let CallError { component, version, .. } = error;
    match error.failure {
        // There may be thousands, and each caller gets its own error.
        Failure::Overloaded => tracing::debug!(%component, version, trace = %context.trace, "{error}"),
        _ => tracing::warn!(%component, version, trace = %context.trace, "{error}"),
    }
    wasmtime::Error::msg(error.message())
}

fn form(error: &Type, name: &str) -> Option<Form> {
    match error {
        Type::Variant(variant) => match variant.cases().find(|case| case.name == name)?.ty {
            None => Some(Form::Bare),
            Some(Type::String) => Some(Form::Message),
            Some(_) => None,
        },
        Type::Enum(names) => names.names().any(|n| n == name).then_some(Form::Enum),
        _ => None,
    }
}

#[cfg(test)]
#[path = "unavailable_tests.rs"]
mod tests;
