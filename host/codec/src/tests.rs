//! The exact JSON forms, refusals with their messages, and the round trip of any value of any type.

use super::{FunctionCodec, camel_case};
use proptest::collection::vec;
use proptest::prelude::*;
use wasmtime::component::Val;
use wit_types::{
    STRING, Ty, U64, any_type, any_value, component_text, func, imported, list, option, record, result, variant,
};

/// The codec of a function that returns `ty`.
fn codec(ty: &Ty) -> FunctionCodec {
    FunctionCodec::of(&func(&[], Some(ty))).unwrap()
}

fn encode(ty: &Ty, value: &Val) -> String {
    String::from_utf8(codec(ty).encode_results(std::slice::from_ref(value)).unwrap()).unwrap()
}

fn decode(ty: &Ty, json: &str) -> Result<Val, String> {
    let values = codec(ty).decode_results(json.as_bytes()).map_err(|e| e.to_string())?;
    Ok(values.into_iter().next().unwrap())
}

fn some(value: Val) -> Val {
    Val::Option(Some(Box::new(value)))
}

fn none() -> Val {
    Val::Option(None)
}

fn text(s: &str) -> Val {
    Val::String(s.to_owned())
}

fn case(name: &str, payload: Option<Val>) -> Val {
    Val::Variant(name.to_owned(), payload.map(Box::new))
}

fn prim(name: &'static str) -> Ty {
    Ty::Prim(name)
}

#[test]
fn every_type_has_its_documented_form() {
    let product = record([("id", U64), ("created-at", option(STRING)), ("base-URL", prim("bool"))]);
    let shape = variant([("no-thing", None), ("some-text", Some(STRING)), ("maybe", Some(option(U64)))]);
    let nested = option(option(U64));
    let table: Vec<(&Ty, Val, &str)> = vec![
        (&U64, Val::U64(1 << 53), "9007199254740992"),
        (&U64, Val::U64((1 << 53) + 1), r#""9007199254740993""#),
        (&STRING, text("a\"b\n"), r#""a\"b\n""#),
        (
            &product,
            Val::Record(vec![
                ("id".into(), Val::U64(1)),
                ("created-at".into(), none()),
                ("base-URL".into(), Val::Bool(true)),
            ]),
            r#"{"id":1,"createdAt":null,"baseUrl":true}"#,
        ),
        (&shape, case("no-thing", None), r#""noThing""#),
        (&shape, case("some-text", Some(text("x"))), r#"{"someText":"x"}"#),
        (&shape, case("maybe", Some(none())), r#"{"maybe":null}"#),
        (&shape, case("maybe", Some(some(Val::U64(2)))), r#"{"maybe":2}"#),
        (&nested, none(), "null"),
        (&nested, some(none()), r#"{"some":null}"#),
        (&nested, some(some(Val::U64(3))), r#"{"some":3}"#),
    ];
    for (ty, value, json) in table {
        assert_eq!(encode(ty, &value), json);
        assert_eq!(decode(ty, json), Ok(value), "{json}");
    }

    let table: Vec<(Ty, Val, &str)> = vec![
        (prim("s64"), Val::S64(i64::MIN), r#""-9223372036854775808""#),
        (prim("s64"), Val::S64(-5), "-5"),
        (prim("s64"), Val::S64(-(1 << 53)), "-9007199254740992"),
        (prim("s64"), Val::S64(-(1 << 53) - 1), r#""-9007199254740993""#),
        (prim("f64"), Val::Float64(-0.0), "-0.0"),
        (prim("f64"), Val::Float64(0.1), "0.1"),
        (prim("f32"), Val::Float32(0.5), "0.5"),
        (prim("char"), Val::Char('é'), r#""é""#),
        (list(prim("u8")), Val::List(vec![Val::U8(0), Val::U8(255)]), "[0,255]"),
        (Ty::Fixed(Box::new(prim("u8")), 2), Val::FixedLengthList(vec![Val::U8(1), Val::U8(2)]), "[1,2]"),
        (
            Ty::Map(Box::new(STRING), Box::new(U64)),
            Val::Map(vec![(text("a"), Val::U64(1)), (text("a"), Val::U64(2))]),
            r#"[["a",1],["a",2]]"#,
        ),
        (Ty::Tuple(vec![U64, STRING]), Val::Tuple(vec![Val::U64(1), text("x")]), r#"[1,"x"]"#),
        (Ty::Enum(vec!["in-stock", "gone"]), Val::Enum("in-stock".into()), r#""inStock""#),
        (
            Ty::Flags(vec!["can-read", "write", "run"]),
            Val::Flags(vec!["can-read".into(), "run".into()]),
            r#"["canRead","run"]"#,
        ),
        (result(None, Some(STRING)), Val::Result(Ok(None)), r#"{"ok":null}"#),
        (result(None, Some(STRING)), Val::Result(Err(Some(Box::new(text("x"))))), r#"{"err":"x"}"#),
        (result(Some(option(U64)), None), Val::Result(Ok(Some(Box::new(none())))), r#"{"ok":null}"#),
        (result(Some(option(U64)), None), Val::Result(Err(None)), r#"{"err":null}"#),
        (option(result(None, None)), some(Val::Result(Ok(None))), r#"{"ok":null}"#),
        (option(option(option(U64))), some(some(none())), r#"{"some":{"some":null}}"#),
    ];
    for (ty, value, json) in table {
        assert_eq!(encode(&ty, &value), json);
        assert_eq!(decode(&ty, json), Ok(value), "{json}");
    }
}

#[test]
fn other_spellings_that_mean_the_same_are_read() {
    let fields = record([("id", U64), ("note", option(option(STRING)))]);
    let plain = Val::Record(vec![("id".into(), Val::U64(7)), ("note".into(), none())]);
    assert_eq!(decode(&fields, r#"{"id":7}"#), Ok(plain.clone()));
    assert_eq!(decode(&fields, r#" { "note" : null , "id" : "7" } "#), Ok(plain));
    assert_eq!(decode(&prim("f64"), "3"), Ok(Val::Float64(3.0)));
    assert_eq!(decode(&prim("f64"), "-3"), Ok(Val::Float64(-3.0)));
    assert_eq!(decode(&variant([("on", None)]), r#"{"on":null}"#), Ok(case("on", None)));
    let flags = Ty::Flags(vec!["a", "b"]);
    assert_eq!(decode(&flags, r#"["b","a"]"#), Ok(Val::Flags(vec!["a".into(), "b".into()])));
}

#[test]
fn what_does_not_fit_is_refused_with_its_place_and_what_was_expected() {
    let money = record([("amount", U64), ("unit-name", STRING)]);
    let product = record([("price", money), ("tags", list(STRING))]);
    let shape = variant([("empty", None), ("text", Some(STRING))]);
    let table: Vec<(Ty, &str, &str)> = vec![
        (
            product.clone(),
            r#"{"price":{"amount":"many","unitName":""},"tags":[]}"#,
            "$.price.amount: expected u64, found string",
        ),
        (product.clone(), r#"{"tags":["a",1]}"#, "$.tags[1]: expected string, found number"),
        (product.clone(), r#"{"price":{"unitName":""},"tags":[]}"#, "$.price: field `amount` is missing; it is a u64"),
        (
            product.clone(),
            r#"{"price":{"unit-name":""}}"#,
            "$.price: unknown field `unit-name`; known are amount, unitName",
        ),
        (product.clone(), r#"{"tags":[],"tags":[]}"#, "$: field `tags` is given twice"),
        (product, "[]", "$: expected record (an object with price, tags), found array"),
        (option(U64), "true", "$: expected u64 or null, found boolean"),
        (U64, "null", "$: expected u64, found null"),
        (U64, "-1", "$: expected u64, found a number out of its range"),
        (U64, "1.5", "$: expected u64, found a number that is not whole or too large"),
        (U64, "18446744073709551616", "$: expected u64, found a number that is not whole or too large"),
        (U64, r#""18446744073709551616""#, "$: expected u64, found string"),
        (prim("u8"), "256", "$: expected u8, found a number out of its range"),
        (prim("u8"), r#""1""#, "$: expected u8, found string"),
        (prim("f32"), "1e39", "$: expected f32, found a number that is too large"),
        (prim("char"), r#""ab""#, "$: expected char (a string of one character), found a string of another length"),
        (prim("bool"), "0", "$: expected bool, found number"),
        (shape.clone(), r#""text""#, r#"$: case text has a payload: write {"text": payload}"#),
        (shape.clone(), r#"{"empty":1}"#, "$: case `empty` has no payload: its value must be null"),
        (shape.clone(), r#"{"text":1}"#, "$.text: expected string, found number"),
        (shape.clone(), "{}", "$: expected variant (one of empty, text), found an empty object"),
        (
            shape.clone(),
            r#"{"text":"","empty":null}"#,
            "$: expected variant (one of empty, text), found an object with more than one key",
        ),
        (shape, r#""gone""#, "$: unknown case `gone`; known are empty, text"),
        (Ty::Enum(vec!["a"]), r#""b""#, "$: unknown name `b`; known are a"),
        (Ty::Flags(vec!["a"]), r#"["a","a"]"#, "$: a flag is named twice"),
        (Ty::Flags(vec!["a"]), r#"["b"]"#, "$: unknown flag `b`; known are a"),
        (result(None, None), r#"{"okay":null}"#, "$: unknown key `okay`; known are ok, err"),
        (result(None, None), r#"{"ok":1}"#, "$: key `ok` has no payload: its value must be null"),
        (option(option(U64)), "5", r#"$: expected option of an option (null or {"some": value}), found number"#),
        (Ty::Tuple(vec![U64, U64]), "[1]", "$: expected tuple (an array of 2), found an array of 1"),
        (Ty::Tuple(vec![U64, U64]), "[1,2,3]", "$: expected tuple (an array of 2), found an array of more than 2"),
        (Ty::Fixed(Box::new(U64), 3), "[1,2]", "$: expected list (an array of 3), found an array of 2"),
        (Ty::Map(Box::new(STRING), Box::new(U64)), r#"[["a",1],["b","x"]]"#, "$[1][1]: expected u64, found string"),
        (
            Ty::Map(Box::new(STRING), Box::new(U64)),
            r#"[["a"]]"#,
            "$: expected map (an array of [key, value]), found an entry of another length",
        ),
        (
            Ty::Map(Box::new(STRING), Box::new(U64)),
            r#"{"a":1}"#,
            "$: expected map (an array of [key, value]), found object",
        ),
    ];
    for (ty, json, message) in table {
        assert_eq!(decode(&ty, json).unwrap_err(), message, "{json}");
    }
}

#[test]
fn an_error_never_repeats_a_value() {
    let login = record([("password", U64)]);
    let message = decode(&login, r#"{"password":"hunter2"}"#).unwrap_err();
    assert_eq!(message, "$.password: expected u64, found string");
    let entry = Ty::Map(Box::new(STRING), Box::new(STRING));
    let message = decode(&entry, r#"["hunter2"]"#).unwrap_err();
    assert!(!message.contains("hunter2"), "{message}");
    let message = decode(&Ty::Flags(vec!["a"]), "[12345]").unwrap_err();
    assert!(!message.contains("12345"), "{message}");
}

#[test]
fn text_that_is_not_json_is_refused_with_its_line_and_column() {
    let message = decode(&list(U64), "[1,\n2").unwrap_err();
    assert!(message.starts_with("$") && message.contains("not valid JSON") && message.contains("line 2"), "{message}");
    let message = decode(&U64, "1 2").unwrap_err();
    assert!(message.contains("trailing characters"), "{message}");
    assert!(decode(&STRING, r#""\ud800""#).is_err());
    assert!(decode(&STRING, "").is_err());
}

#[test]
fn a_nan_or_infinity_is_refused_with_its_place() {
    let ty = record([("ratio", prim("f32"))]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let value = Val::Record(vec![("ratio".into(), Val::Float32(bad))]);
        let error = codec(&ty).encode_results(&[value]).unwrap_err();
        assert_eq!(error.to_string(), "$.ratio: a NaN or an infinity, which JSON cannot carry");
    }
}

#[test]
fn a_value_of_another_type_is_refused_when_written() {
    let error = codec(&list(U64)).encode_results(&[Val::List(vec![Val::U64(1), Val::Bool(true)])]).unwrap_err();
    assert_eq!(error.to_string(), "$[1]: expected u64, found a value of another type");
    let error = codec(&record([("id", U64)])).encode_results(&[Val::Record(vec![("key".into(), Val::U64(1))])]);
    assert_eq!(error.unwrap_err().to_string(), "$: expected record (an object with id), found a value of another type");
    let error = codec(&U64).encode_results(&[]).unwrap_err();
    assert_eq!(error.to_string(), "$: expected 1 results, found 0");
}

#[test]
fn parameters_are_an_object_by_name_or_an_array_by_position() {
    let codec = FunctionCodec::of(&func(&[("product-id", U64), ("note", option(STRING))], None)).unwrap();
    let values = vec![Val::U64(1), none()];
    let json = codec.encode_params(&values).unwrap();
    assert_eq!(String::from_utf8_lossy(&json), r#"{"productId":1,"note":null}"#);
    for text in [r#"{"productId":1,"note":null}"#, r#"{"productId":1}"#, "[1,null]"] {
        assert_eq!(codec.decode_params(text.as_bytes()).unwrap(), values);
    }
    let table = [
        (r#"{"id":1}"#, "$: unknown parameter `id`; known are productId, note"),
        ("{}", "$: parameter `productId` is missing; it is a u64"),
        ("[1]", "$: expected parameters (an object with productId, note), found an array of 1"),
        ("1", "$: expected parameters (an object with productId, note), found number"),
        ("[true,null]", "$[0]: expected u64, found boolean"),
    ];
    for (text, message) in table {
        assert_eq!(codec.decode_params(text.as_bytes()).unwrap_err().to_string(), message);
    }
    assert!(codec.encode_params(&[Val::U64(1)]).is_err());
}

#[test]
fn a_function_without_parameters_and_result_has_an_empty_object_and_null() {
    let codec = FunctionCodec::of(&func(&[], None)).unwrap();
    assert_eq!(codec.encode_params(&[]).unwrap(), b"{}");
    assert_eq!(codec.decode_params(b"{}").unwrap(), vec![]);
    assert_eq!(codec.decode_params(b"[]").unwrap(), vec![]);
    assert_eq!(codec.decode_params(br#"{"a":1}"#).unwrap_err().to_string(), "$: unknown parameter `a`; known are none");
    assert_eq!(codec.encode_results(&[]).unwrap(), b"null");
    assert_eq!(codec.decode_results(b"null").unwrap(), vec![]);
    assert!(codec.decode_results(b"1").is_err());
}

#[test]
fn two_names_that_are_one_in_camel_case_are_refused_when_the_codec_is_made() {
    // wasmtime 48 accepts them: it compares names with their hyphens.
    let func = func(&[], Some(&record([("a-1", U64), ("a1", U64)])));
    let error = FunctionCodec::of(&func).unwrap_err();
    assert_eq!(error.to_string(), "result: the names `a-1` and `a1`, which are both `a1` in JSON");
}

#[test]
fn types_nest_as_deep_as_json_can_be_read_again_and_no_deeper() {
    let nest = |levels: usize, wrap: fn(Ty) -> Ty| (0..levels).fold(U64, |ty, _| wrap(ty));
    let ty = nest(90, list);
    let value = (0..90).fold(Val::U64(1), |value, _| Val::List(vec![value]));
    assert_eq!(decode(&ty, &encode(&ty, &value)), Ok(value));

    let map = |value| Ty::Map(Box::new(STRING), Box::new(value));
    let ty = nest(50, map);
    let value = (0..50).fold(Val::U64(1), |value, _| Val::Map(vec![(text(""), value)]));
    assert_eq!(decode(&ty, &encode(&ty, &value)), Ok(value));
    let deep = func(&[], Some(&list(nest(50, map))));
    assert!(FunctionCodec::of(&deep).unwrap_err().message.contains("more than 100 levels deep"));
}

#[test]
fn text_that_nests_without_end_is_refused_without_a_deep_stack() {
    for ty in [U64, list(list(U64)), STRING, Ty::Tuple(vec![U64])] {
        assert!(decode(&ty, &"[".repeat(1_000_000)).is_err());
        assert!(decode(&ty, &r#"{"a":"#.repeat(100_000)).is_err());
    }
    // What follows a complete tuple is skipped, not read.
    assert!(decode(&Ty::Tuple(vec![U64]), &format!("[1,{}", "[".repeat(1_000_000))).is_err());
}

#[test]
fn names_are_spelt_in_camel_case() {
    let table =
        [("id", "id"), ("created-at", "createdAt"), ("base-URL", "baseUrl"), ("URL-of-x", "urlOfX"), ("x-1y", "x1y")];
    for (wit, json) in table {
        assert_eq!(camel_case(wit), json);
    }
}

/// A type and some of its values.
fn typed_values() -> impl Strategy<Value = (Ty, Vec<Val>)> {
    any_type().prop_flat_map(|ty| {
        let values = vec(any_value(&ty), 1..6);
        (Just(ty), values)
    })
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let keys = proptest::sample::select(&["a", "id", "ok", "err", "some", "createdAt", "x"][..]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..3u8).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        keys.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            (keys.clone(), inner.clone()).prop_map(|(k, v)| json!({ k: v })),
            vec((keys.clone(), inner), 0..4).prop_map(|e| e.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// Reading gives an error, or a value whose own JSON reads as the same value.
fn read_is_stable(codec: &FunctionCodec, json: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(values) = codec.decode_results(json) {
        let again = codec.encode_results(&values).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(codec.decode_results(&again).unwrap(), values);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_of_every_type_is_the_same_after_a_round_trip((ty, values) in typed_values()) {
        let codec = codec(&ty);
        for value in &values {
            let json = codec.encode_results(std::slice::from_ref(value)).unwrap();
            let read = codec.decode_results(&json);
            prop_assert_eq!(read.as_deref(), Ok(std::slice::from_ref(value)), "{}", String::from_utf8_lossy(&json));
            // Any other JSON reader in between keeps the value too.
            let tree: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let read = codec.decode_results(&serde_json::to_vec(&tree).unwrap());
            prop_assert_eq!(read.as_deref(), Ok(std::slice::from_ref(value)));
        }
    }

    #[test]
    fn parameters_are_the_same_after_a_round_trip((ty, values) in typed_values()) {
        let codec = FunctionCodec::of(&func(&[("first", ty), ("second-one", U64)], None)).unwrap();
        for value in values {
            let values = vec![value, Val::U64(u64::MAX)];
            let json = codec.encode_params(&values).unwrap();
            prop_assert_eq!(codec.decode_params(&json), Ok(values));
        }
    }

    #[test]
    fn any_json_is_read_or_refused(ty in any_type(), json in vec(any_json(), 1..20)) {
        let codec = codec(&ty);
        for json in json {
            read_is_stable(&codec, &serde_json::to_vec(&json).unwrap())?;
        }
    }

    #[test]
    fn damaged_json_is_read_or_refused((ty, values) in typed_values(), cuts in vec((any::<usize>(), any::<u8>()), 8)) {
        let codec = codec(&ty);
        let json = codec.encode_results(&values[..1]).unwrap();
        for (at, byte) in cuts {
            let at = at % json.len();
            let mut damaged = json.clone();
            damaged[at] = byte;
            read_is_stable(&codec, &damaged)?;
            read_is_stable(&codec, &json[..at])?;
        }
    }

    #[test]
    fn every_finite_float_keeps_its_bits(bits32 in any::<u32>(), bits64 in any::<u64>()) {
        let (single, double) = (f32::from_bits(bits32), f64::from_bits(bits64));
        let ty = Ty::Tuple(vec![prim("f32"), prim("f64")]);
        if single.is_finite() && double.is_finite() {
            let value = Val::Tuple(vec![Val::Float32(single), Val::Float64(double)]);
            let Ok(Val::Tuple(read)) = decode(&ty, &encode(&ty, &value)) else { panic!("refused") };
            let (Val::Float32(s), Val::Float64(d)) = (&read[0], &read[1]) else { panic!("{read:?}") };
            prop_assert_eq!((s.to_bits(), d.to_bits()), (bits32, bits64));
        }
    }
}

#[test]
fn handles_are_refused_when_the_codec_is_made() {
    let text = component_text("func", &[("s", prim("(stream u8)"))], None);
    let error = FunctionCodec::of(&imported(&text).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "parameters.s: a stream");
}

/// The heap memory of a value in bytes, without the allocator's overhead.
fn memory(value: &Val) -> usize {
    let all = |values: &mut dyn Iterator<Item = &Val>| values.map(memory).sum::<usize>();
    let boxed = |value: &Option<Box<Val>>| value.as_ref().map_or(0, |value| size_of::<Val>() + memory(value));
    match value {
        Val::String(text) | Val::Enum(text) => text.capacity(),
        Val::List(items) | Val::FixedLengthList(items) | Val::Tuple(items) => {
            items.capacity() * size_of::<Val>() + all(&mut items.iter())
        }
        Val::Map(entries) => {
            entries.capacity() * size_of::<(Val, Val)>() + all(&mut entries.iter().flat_map(|(k, v)| [k, v]))
        }
        Val::Record(fields) => {
            let names: usize = fields.iter().map(|(name, _)| name.capacity()).sum();
            fields.capacity() * size_of::<(String, Val)>() + names + all(&mut fields.iter().map(|(_, v)| v))
        }
        Val::Variant(case, payload) => case.capacity() + boxed(payload),
        Val::Option(value) | Val::Result(Ok(value) | Err(value)) => boxed(value),
        Val::Flags(names) => names.capacity() * size_of::<String>() + names.iter().map(String::capacity).sum::<usize>(),
        _ => 0,
    }
}

#[test]
fn a_value_that_would_use_too_much_memory_is_refused_at_its_place() {
    let codec = FunctionCodec::of(&func(&[("p", list(list(prim("u8"))))], None)).unwrap();
    let refused = codec.decode_params_in(br#"{"p":[[1,2],[3]]}"#, &|_| false).unwrap_err();
    assert!(refused.message.contains("not enough memory"), "{refused}");
    let (given, json) = (std::cell::Cell::new(0), format!(r#"{{"p":[[{}1]]}}"#, "1,".repeat(10_000)));
    let more = |bytes: usize| given.replace(given.get() + bytes) + bytes < 100_000;
    let refused = codec.decode_params_in(json.as_bytes(), &more).unwrap_err();
    assert_eq!(refused.path, "$.p[0]");
    let many = format!(r#"{{"p":[[{}1]]}}"#, "1,".repeat(super::MAX_VALUE_BYTES / size_of::<Val>()));
    assert!(codec.decode_params(many.as_bytes()).is_err());
}

#[test]
fn json_that_would_be_too_long_is_not_written() {
    let codec = FunctionCodec::of(&func(&[("p", STRING)], Some(&STRING))).unwrap();
    // Six bytes each, two quotation marks, and `{"p":}`.
    let value = [text(&"\u{1}".repeat(10))];
    assert_eq!(codec.encode_results_within(61, &value).unwrap(), None);
    assert_eq!(codec.encode_results_within(62, &value).unwrap().map(|json| json.len()), Some(62));
    assert_eq!(codec.encode_params_within(67, &value).unwrap(), None);
    assert_eq!(codec.encode_params_within(68, &value).unwrap().map(|json| json.len()), Some(68));
}

proptest! {
    #[test]
    fn no_value_takes_more_than_was_asked_for((ty, value) in any_type().prop_flat_map(|ty| (Just(ty.clone()), any_value(&ty)))) {
        let params = FunctionCodec::of(&func(&[("p", ty)], None));
        prop_assume!(params.is_ok());
        let codec = params.unwrap();
        let json = codec.encode_params(std::slice::from_ref(&value)).unwrap();
        let asked = std::cell::Cell::new(0);
        let more = |bytes: usize| {
            asked.set(asked.get() + bytes);
            true
        };
        let read = codec.decode_params_in(&json, &more).unwrap();
        prop_assert!(read.iter().map(memory).sum::<usize>() <= asked.get());
    }
}
