//! The text of a function's type, in one line and in several, and its digest.

use super::{digest, signature, signature_lines};
use proptest::prelude::*;
use wit_types::{STRING, Ty, U64, any_type, async_func, func, imported, list, option, record, result, variant};

fn product() -> Ty {
    record([
        ("id", U64),
        ("name", STRING),
        ("price", record([("amount", Ty::Prim("s64")), ("currency", Ty::Enum(vec!["usd", "eur"]))])),
        ("tags", list(STRING)),
    ])
}

fn error() -> Ty {
    variant([("not-found", None), ("invalid", Some(STRING)), ("unavailable", Some(STRING))])
}

#[test]
fn a_digest_is_the_same_only_for_the_same_signature() {
    let get = async_func(&[("id", U64)], Some(&product()));
    assert_eq!(digest("get", &get), digest("get", &async_func(&[("id", U64)], Some(&product()))));
    assert_eq!(
        digest("get", &get),
        digest("get", &func(&[("id", U64)], Some(&product()))),
        "async-ness is no part of it"
    );
    assert_eq!(digest("get", &get).len(), 32);
    for other in [
        digest("got", &get),
        digest("get", &async_func(&[("id", Ty::Prim("s64"))], Some(&product()))),
        digest("get", &async_func(&[("id", U64)], Some(&option(product())))),
    ] {
        assert_ne!(digest("get", &get), other);
    }
}

#[test]
fn a_signature_is_wit_on_one_line() {
    let get = async_func(&[("id", U64)], Some(&result(Some(product()), Some(error()))));
    assert_eq!(
        signature("get", &get),
        "get: async func(id: u64) -> result<record { id: u64, name: string, price: record { amount: s64, \
         currency: enum { usd, eur } }, tags: list<string> }, \
         variant { not-found, invalid(string), unavailable(string) }>"
    );
    let table: Vec<(Ty, &str)> = vec![
        (result(None, None), "result"),
        (result(Some(U64), None), "result<u64>"),
        (result(None, Some(U64)), "result<_, u64>"),
        (option(Ty::Tuple(vec![U64, STRING])), "option<tuple<u64, string>>"),
        (Ty::Fixed(Box::new(Ty::Prim("u8")), 4), "list<u8, 4>"),
        (Ty::Map(Box::new(STRING), Box::new(U64)), "map<string, u64>"),
        (Ty::Flags(vec!["read", "write"]), "flags { read, write }"),
        (Ty::Prim("f32"), "f32"),
        (Ty::Prim("(stream u8)"), "stream<u8>"),
        (Ty::Prim("(future)"), "future"),
    ];
    for (ty, text) in table {
        assert_eq!(signature("f", &func(&[], Some(&ty))), format!("f: func() -> {text}"));
    }
}

#[test]
fn a_long_signature_is_broken_into_indented_lines() {
    let create = async_func(&[("product", product()), ("note", option(STRING))], Some(&result(None, Some(error()))));
    assert_eq!(
        signature_lines("create", &create),
        "\
create: async func(
    product: record {
        id: u64,
        name: string,
        price: record { amount: s64, currency: enum { usd, eur } },
        tags: list<string>,
    },
    note: option<string>,
) -> result<_, variant { not-found, invalid(string), unavailable(string) }>"
    );
    assert_eq!(signature_lines("f", &func(&[("id", U64)], None)), "f: func(id: u64)");
}

#[test]
fn a_resource_is_shown_as_a_resource() {
    let func = imported(
        r#"(component (import "test:links/things@1.0.0" (instance
            (export "r" (type $r (sub resource)))
            (export "f" (func (param "a" (borrow $r)) (result (own $r)))))))"#,
    )
    .unwrap();
    assert_eq!(signature("f", &func), "f: func(a: borrow<resource>) -> own<resource>");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_lines_say_what_the_one_line_says(ty in any_type()) {
        let func = func(&[("value", ty)], None);
        let words = |text: String| {
            text.replace(",\n", "\n").split_whitespace().collect::<String>().replace(['{', '}', ' ', ','], "")
        };
        prop_assert_eq!(words(signature("f", &func)), words(signature_lines("f", &func)));
    }
}
