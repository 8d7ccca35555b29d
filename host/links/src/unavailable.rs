//! How a dead, late or overloaded callee becomes an error that its caller can act on.
//!
//! An error of a host function traps the calling component, so one broken callee would take its callers with it. A
//! contract therefore has an error case for it: the host answers with `unavailable`, or, in the contracts of durable
//! links, with `retry`. A function without such a case is linked with a warning at start-up, and then a dead callee does
//! trap its caller.
//!
//! The guest is told who did not answer and why in a few words, never how: a trap's backtrace or an address is for the
//! log.

use souk_bindings::call::CallContext;
use souk_runtime::{CallError, Failure};
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

/// The cases that mean "the callee could not answer; it may help to try again", in order of preference.
const CASES: [&str; 2] = ["unavailable", "retry"];

/// What a function returns in its callee's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    case: &'static str,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A variant's case with a string for the message.
    Message,
    /// A variant's case without payload.
    Bare,
    /// A name of an enum.
    Enum,
}

impl Unavailable {
    /// Finds the case in the error of a function's result: `unavailable` or else `retry`, with a string or nothing as
    /// its payload. `None` when the function has no such error. Work for start-up.
    pub fn of(func: &ComponentFunc) -> Option<Unavailable> {
        let Some(Type::Result(result)) = func.results().next() else { return None };
        let error = result.err()?;
        CASES.into_iter().find_map(|case| Some(Unavailable { case, form: form(&error, case)? }))
    }

    /// The function's result: an error with `message`, if the contract's case carries one.
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

/// The same for a call that has written its results by itself where it succeeded.
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
    match error.failure {
        // There may be thousands of them, and each caller hears of its own.
        Failure::Overloaded => tracing::debug!(component = %error.component, trace = %context.trace, "{error}"),
        _ => tracing::warn!(component = %error.component, trace = %context.trace, "{error}"),
    }
    match (unavailable, results.first_mut()) {
        (Some(unavailable), Some(slot)) => {
            *slot = unavailable.value(&error.message());
            Ok(())
        }
        _ => Err(wasmtime::Error::msg(error.message())),
    }
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
