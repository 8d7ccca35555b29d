//! Which types of two components agree, and how a difference is shown.

use super::{FunctionCodec, check_function, plain_values};
use proptest::prelude::*;
use wit_types::{
    INTERFACE, STRING, Ty, U64, any_type, async_func, component_text, func, imported, list, option, record, result,
    variant,
};

fn difference(importer: &Ty, exporter: &Ty) -> String {
    let (importer, exporter) = (func(&[("id", importer.clone())], None), func(&[("id", exporter.clone())], None));
    let error = check_function(INTERFACE, "get", &importer, &exporter).unwrap_err();
    error.problem.lines().next().unwrap().to_owned()
}

#[test]
fn a_difference_is_shown_at_its_place_with_both_signatures() {
    let importer = func(&[("id", U64)], None);
    let exporter = func(&[("id", STRING)], None);
    let error = check_function(INTERFACE, "get", &importer, &exporter).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`test:links/things@1.0.0#get`: importer and exporter differ: parameter `id`: importer has u64, exporter has \
         string\n  importer: get: func(id: u64)\n  exporter: get: func(id: string)"
    );
    assert_eq!(error.fix, "build both components from the same version of the contract");
}

#[test]
fn the_first_difference_is_found_wherever_it_is() {
    let price = |ty| result(Some(record([("price", ty), ("name", STRING)])), None);
    let table: Vec<(Ty, Ty, &str)> = vec![
        (
            price(U64),
            price(Ty::Prim("f64")),
            "field `price` of the ok of parameter `id`: importer has u64, exporter has f64",
        ),
        (
            result(None, Some(U64)),
            result(None, None),
            "the err of parameter `id`: importer has u64, exporter has no type",
        ),
        (
            list(option(U64)),
            list(option(STRING)),
            "the value of the element of parameter `id`: importer has u64, exporter has string",
        ),
        (U64, option(U64), "parameter `id`: importer has u64, exporter has option<u64>"),
        (
            Ty::Tuple(vec![U64, U64]),
            Ty::Tuple(vec![U64, STRING]),
            "item 2 of parameter `id`: importer has u64, exporter has string",
        ),
        (
            Ty::Tuple(vec![U64]),
            Ty::Tuple(vec![U64, U64]),
            "parameter `id`: importer has tuple<u64>, exporter has tuple<u64, u64>",
        ),
        (
            record([("a", U64)]),
            record([("a", U64), ("b", U64)]),
            "parameter `id` has the field `b` in the exporter only",
        ),
        (
            record([("a", U64), ("b", U64)]),
            record([("b", STRING), ("a", U64)]),
            "parameter `id` has its fields in another order: importer a, b; exporter b, a",
        ),
        (
            variant([("x", None), ("y", None)]),
            variant([("x", Some(U64)), ("y", None)]),
            "the payload of case `x` of parameter `id`: importer has no type, exporter has u64",
        ),
        (
            variant([("x", None)]),
            variant([("z", None)]),
            "parameter `id` has the case `x` in the importer only and the case `z` in the exporter only",
        ),
        (Ty::Enum(vec!["a", "b"]), Ty::Enum(vec!["a"]), "parameter `id` has the name `b` in the importer only"),
        (Ty::Flags(vec!["a", "c"]), Ty::Flags(vec!["a"]), "parameter `id` has the flag `c` in the importer only"),
        (
            Ty::Map(Box::new(U64), Box::new(U64)),
            Ty::Map(Box::new(STRING), Box::new(U64)),
            "the key of parameter `id`: importer has u64, exporter has string",
        ),
        (
            Ty::Fixed(Box::new(U64), 2),
            Ty::Fixed(Box::new(U64), 3),
            "parameter `id`: importer has list<u64, 2>, exporter has list<u64, 3>",
        ),
    ];
    for (importer, exporter, expected) in table {
        assert_eq!(difference(&importer, &exporter), format!("importer and exporter differ: {expected}"));
    }
}

#[test]
fn functions_differ_by_their_parameters_and_result_and_not_by_being_async() {
    let check =
        |a, b| check_function(INTERFACE, "get", &a, &b).map_err(|e| e.problem.lines().next().unwrap().to_owned());
    assert_eq!(
        check(func(&[("id", U64)], None), func(&[("key", U64)], None)).unwrap_err(),
        "importer and exporter differ: the function has the parameter `id` in the importer only and the parameter \
         `key` in the exporter only"
    );
    assert_eq!(
        check(func(&[], Some(&U64)), func(&[], None)).unwrap_err(),
        "importer and exporter differ: the result: importer has u64, exporter has no type"
    );
    let either = |is_async| if is_async { async_func } else { func }(&[("id", U64)], Some(&U64));
    for (importer, exporter) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(check(either(importer), either(exporter)), Ok(()));
    }
}

#[test]
fn handles_are_refused_by_interface_function_and_place() {
    let table = [
        ("(stream u8)", "`parameters.items[].body`", "a stream"),
        ("(future u8)", "`parameters.items[].body`", "a future"),
        ("error-context", "`parameters.items[].body`", "an error-context"),
    ];
    for (ty, place, what) in table {
        let items = list(record([("body", Ty::Prim(ty))]));
        let func = imported(&component_text("func", &[("items", items)], None)).unwrap();
        let error = plain_values(INTERFACE, "send", &func).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`test:links/things@1.0.0#send`: ") && text.contains(place), "{text}");
        assert!(text.contains(what) && error.fix.contains("use an id"), "{text}: {}", error.fix);
        assert!(check_function(INTERFACE, "send", &func, &func).is_err());
    }
    let resource = imported(
        r#"(component (import "test:links/things@1.0.0" (instance
            (export "r" (type $r (sub resource)))
            (export "f" (func (result (option (own $r))))))))"#,
    )
    .unwrap();
    let error = plain_values(INTERFACE, "f", &resource).unwrap_err().to_string();
    assert!(error.contains("`result`") && error.contains("a resource (an owned handle)"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_types_of_two_components_agree(ty in any_type()) {
        let (a, b) = (async_func(&[("x", ty.clone())], Some(&ty)), async_func(&[("x", ty.clone())], Some(&ty)));
        prop_assert_eq!(check_function(INTERFACE, "f", &a, &b), Ok(()));
    }

    #[test]
    fn different_types_are_told_apart(a in any_type(), b in any_type()) {
        let (of_a, of_b) = (func(&[("x", a.clone())], None), func(&[("x", b.clone())], None));
        let agree = check_function(INTERFACE, "f", &of_a, &of_b);
        let [of_a, of_b] = [of_a, of_b].map(|ty| FunctionCodec::of(&ty).unwrap());
        prop_assert_eq!(agree.is_ok(), a == b || of_a.can_call(&of_b));
    }
}
