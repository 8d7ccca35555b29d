//! The contract of a durable link: what its functions return, and what the host answers for them.
//!
//! There are exactly two errors, because the host has to act on each: after `retry(string)` it delivers the message
//! again, after `reject(string)` it does not. `ok` has no value: the caller gets its answer before the target is
//! called.

use crate::check::{LinkTypeError, Mismatch};
use souk_codec::signature::signature;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

const RETRY: &str = "retry";
const REJECT: &str = "reject";

/// Checks that a durable link can have this function.
///
/// # Errors
/// Shows the function's signature and what it must return.
pub(super) fn check(interface: &str, function: &str, ty: &ComponentFunc) -> Result<(), LinkTypeError> {
    if is_delivery(ty) {
        return Ok(());
    }
    let problem = format!("cannot be called by a durable link: {}", signature(function, ty));
    let fix = "let it return `result<_, E>`, where E is `variant E { retry(string), reject(string) }` and nothing \
               more; or remove the interface from `durable`: then the link waits for the answer";
    Err(LinkTypeError::new(interface, function, Mismatch::new(problem, fix)))
}

/// Whether a function has the result type that a durable link needs.
pub(crate) fn is_delivery(ty: &ComponentFunc) -> bool {
    let Some(Type::Result(result)) = ty.results().next() else { return false };
    let (None, Some(Type::Variant(error))) = (result.ok(), result.err()) else { return false };
    let mut cases: Vec<(String, bool)> =
        error.cases().map(|case| (case.name.to_owned(), matches!(case.ty, Some(Type::String)))).collect();
    cases.sort();
    cases == [(REJECT.to_owned(), true), (RETRY.to_owned(), true)]
}

/// The answer of a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// `ok`.
    Done,
    /// `retry`: delivering again can help.
    Retry(String),
    /// `reject`: delivering again cannot help.
    Reject(String),
}

/// Reads the result of a function that [`is_delivery`].
pub(super) fn verdict(results: &[Val]) -> Verdict {
    match results {
        [Val::Result(Ok(_))] => Verdict::Done,
        [Val::Result(Err(Some(error)))] => match error.as_ref() {
            Val::Variant(case, Some(text)) => match (case.as_str(), text.as_ref()) {
                (REJECT, Val::String(text)) => Verdict::Reject(text.clone()),
                (_, Val::String(text)) => Verdict::Retry(text.clone()),
                _ => unknown(),
            },
            _ => unknown(),
        },
        _ => unknown(),
    }
}

/// The verdict on a value that is not of the contract's type. The check at start-up makes this unreachable.
fn unknown() -> Verdict {
    Verdict::Retry("the answer is not that of the contract".to_owned())
}

/// The answer to a caller whose message is stored.
pub(super) fn stored() -> Val {
    Val::Result(Ok(None))
}

/// The answer to a caller whose message cannot be stored now.
pub(super) fn retry(text: String) -> Val {
    error(RETRY, text)
}

/// The answer to a caller whose message can never be stored.
pub(crate) fn reject(text: String) -> Val {
    error(REJECT, text)
}

fn error(case: &str, text: String) -> Val {
    Val::Result(Err(Some(Box::new(Val::Variant(case.to_owned(), Some(Box::new(Val::String(text))))))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_codec::FunctionCodec;
    use wit_types::{STRING, Ty, U64, async_func, result, variant};

    fn delivery(retry: Option<Ty>, reject: Option<Ty>) -> Ty {
        variant([("retry", retry), ("reject", reject)])
    }

    #[test]
    fn a_function_fits_that_returns_no_value_or_retry_or_reject() {
        let good = result(None, Some(delivery(Some(STRING), Some(STRING))));
        check("n:p/i", "f", &async_func(&[("a", U64)], Some(&good))).unwrap();
        let turned = result(None, Some(variant([("reject", Some(STRING)), ("retry", Some(STRING))])));
        check("n:p/i", "f", &async_func(&[], Some(&turned))).unwrap();
    }

    #[test]
    fn any_other_function_is_refused_with_its_signature_and_what_it_must_return() {
        let error = || Some(delivery(Some(STRING), Some(STRING)));
        let more = variant([("retry", Some(STRING)), ("reject", Some(STRING)), ("busy", None)]);
        for wrong in [
            None,
            Some(U64),
            Some(result(None, None)),
            Some(result(Some(U64), error())),
            Some(result(None, Some(STRING))),
            Some(result(None, Some(delivery(None, Some(STRING))))),
            Some(result(None, Some(delivery(Some(STRING), Some(U64))))),
            Some(result(None, Some(variant([("retry", Some(STRING))])))),
            Some(result(None, Some(more))),
        ] {
            let error = check("n:p/i", "f", &async_func(&[], wrong.as_ref())).unwrap_err();
            assert!(error.to_string().contains("`n:p/i#f`"), "{error}");
            assert!(error.fix.contains("let it return `result<_, E>`"), "{}", error.fix);
        }
    }

    #[test]
    fn the_hosts_own_answers_are_of_the_contracts_type_and_read_as_what_they_mean() {
        let func = async_func(&[], Some(&result(None, Some(delivery(Some(STRING), Some(STRING))))));
        let codec = FunctionCodec::of(&func).unwrap();
        for (answer, json, read) in [
            (stored(), r#"{"ok":null}"#, Verdict::Done),
            (retry("full".into()), r#"{"err":{"retry":"full"}}"#, Verdict::Retry("full".into())),
            (reject("large".into()), r#"{"err":{"reject":"large"}}"#, Verdict::Reject("large".into())),
        ] {
            assert_eq!(verdict(std::slice::from_ref(&answer)), read);
            assert_eq!(String::from_utf8(codec.encode_results(&[answer]).unwrap()).unwrap(), json);
        }
    }
}
