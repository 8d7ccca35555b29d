//! Which case of a contract's error a caller gets for a callee that failed.

use super::Unavailable;
use souk_codec::FunctionCodec;
use wasmtime::component::types::ComponentFunc;
use wit_types::{STRING, Ty, U64, async_func, option, record, result, variant};

fn returning(error: Ty) -> ComponentFunc {
    async_func(&[], Some(&result(Some(U64), Some(error))))
}

/// The error as JSON. The codec refuses a value that does not have the function's type.
fn error_of(func: &ComponentFunc) -> Option<String> {
    let value = Unavailable::of(func)?.value("it failed");
    let json = FunctionCodec::of(func).unwrap().encode_results(&[value]).unwrap();
    Some(String::from_utf8(json).unwrap())
}

#[test]
fn the_error_is_the_contracts_own_case() {
    let table = [
        (variant([("not-found", None), ("unavailable", Some(STRING))]), r#"{"err":{"unavailable":"it failed"}}"#),
        (variant([("unavailable", None)]), r#"{"err":"unavailable"}"#),
        (Ty::Enum(vec!["not-found", "unavailable"]), r#"{"err":"unavailable"}"#),
        (variant([("retry", Some(STRING)), ("reject", Some(STRING))]), r#"{"err":{"retry":"it failed"}}"#),
        (variant([("retry", Some(STRING)), ("unavailable", None)]), r#"{"err":"unavailable"}"#),
        // The host cannot make the payload of this `unavailable`, so `retry` is used.
        (variant([("unavailable", Some(U64)), ("retry", Some(STRING))]), r#"{"err":{"retry":"it failed"}}"#),
    ];
    for (error, json) in table {
        assert_eq!(error_of(&returning(error)).as_deref(), Some(json));
    }
}

#[test]
fn a_function_without_such_a_case_has_none() {
    let unavailable = || Some(STRING);
    let functions = [
        async_func(&[], None),
        async_func(&[], Some(&U64)),
        async_func(&[], Some(&result(Some(U64), None))),
        async_func(&[], Some(&option(variant([("unavailable", unavailable())])))),
        // Only the error type counts, not the ok type.
        async_func(&[], Some(&result(Some(variant([("unavailable", unavailable())])), Some(STRING)))),
        returning(STRING),
        returning(record([("unavailable", STRING)])),
        returning(variant([("not-found", None)])),
        returning(variant([("unavailable", Some(record([("after", U64)])))])),
    ];
    for func in &functions {
        assert_eq!(Unavailable::of(func), None, "{func:?}");
    }
}
