//! How the values of functions become packets of a NestJS system and back, and which tables do not fit a function.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use souk_manifest::{DependencyName, NestError};
use wasmtime::component::types::ComponentFunc;
use wit_types::{STRING, Ty, U64, any_type, any_value, async_func, func, record, result, variant};

fn name(package: &str, interface: &str) -> DependencyName {
    DependencyName { package: package.into(), interface: Some(interface.into()), version: None }
}

fn pattern(data: Option<&str>, errors: &[(&str, u16, Option<&str>)]) -> NestPattern {
    let error = |(name, status, message): &(&str, u16, Option<&str>)| {
        let error = NestError { status: (*status).into(), message: message.map(str::to_owned), pattern_only: true };
        ((*name).to_owned(), error)
    };
    NestPattern {
        subject: "auth.login.user".into(),
        interface: name("test:accounts", "accounts"),
        function: "login".into(),
        data: data.map(str::to_owned),
        errors: errors.iter().map(error).collect(),
        leave_out: Vec::new(),
        line: 7,
    }
}

fn adapter() -> NestPattern {
    NestPattern { interface: name(PACKAGE, "requests"), function: "handle".into(), ..pattern(None, &[]) }
}

const ERRORS: &[(&str, u16, Option<&str>)] = &[
    ("not-found", 404, Some("User not found")),
    ("invalid", 400, None),
    ("email-taken", 400, Some("User already exists")),
    ("blocked", 400, Some("{} is blocked")),
    ("unavailable", 503, Some("Try again: {}")),
];

fn error() -> Ty {
    variant([
        ("not-found", None),
        ("invalid", Some(STRING)),
        ("email-taken", None),
        ("blocked", Some(STRING)),
        ("unavailable", Some(STRING)),
    ])
}

fn login() -> ComponentFunc {
    async_func(&[("email", STRING), ("pass-word", STRING)], Some(&result(Some(record([("id", U64)])), Some(error()))))
}

fn json_function() -> ComponentFunc {
    json_function_of(func)
}

fn json_function_of(kind: impl Fn(&[(&str, Ty)], Option<&Ty>) -> ComponentFunc) -> ComponentFunc {
    let error = variant([("exception", Some(STRING)), ("unavailable", Some(STRING))]);
    kind(&[("pattern", STRING), ("data", STRING)], Some(&result(Some(STRING), Some(error))))
}

fn refused(case: &str, payload: Option<&str>) -> Vec<Val> {
    let payload = payload.map(|text| Box::new(Val::String(text.into())));
    vec![Val::Result(Err(Some(Box::new(Val::Variant(case.into(), payload)))))]
}

fn problem(pattern: &NestPattern, ty: &ComponentFunc, direction: Direction) -> String {
    let error = Function::of(pattern, ty, direction).unwrap_err();
    assert!(!error.fix.is_empty(), "{error}");
    format!("{error}: {}", error.fix)
}

#[test]
fn an_adapter_may_be_async_or_not() {
    for kind in [func, async_func] {
        Function::of(&adapter(), &json_function_of(kind), Direction::Inbound).unwrap();
    }
}

#[test]
fn data_holds_the_parameters_by_name_or_is_the_only_one() {
    let function = Function::of(&pattern(None, ERRORS), &login(), Direction::Inbound).unwrap();
    let arguments = function.arguments("p", r#"{"email":"a","passWord":"b"}"#);
    let params = [Val::String("a".into()), Val::String("b".into())];
    assert_eq!(function.codec.decode_params(arguments.as_bytes()).unwrap(), params);
    assert_eq!(function.message(&params).unwrap(), (None, r#"{"email":"a","passWord":"b"}"#.to_owned()));

    let verify = async_func(&[("the-token", STRING)], Some(&result(Some(U64), Some(error()))));
    let whole = Function::of(&pattern(Some("the-token"), ERRORS), &verify, Direction::Inbound).unwrap();
    let arguments = whole.arguments("p", r#""a.b.c""#);
    let params = [Val::String("a.b.c".into())];
    assert_eq!(whole.codec.decode_params(arguments.as_bytes()).unwrap(), params);
    assert_eq!(whole.message(&params).unwrap(), (None, r#""a.b.c""#.to_owned()));
    assert!(whole.codec.decode_params(whole.arguments("p", r#""a","theToken":"b""#).as_bytes()).is_err());

    // A Nest client always sends some data.
    let bare = Function::of(&pattern(None, ERRORS), &async_func(&[], Some(&U64)), Direction::Outbound)
        .unwrap_err()
        .to_string();
    assert!(bare.contains("has no error"), "{bare}");
    let bare = Function::of(&pattern(None, &[]), &async_func(&[], Some(&U64)), Direction::Inbound).unwrap();
    for data in ["{}", "null", r#"{"any":1}"#, "\"\""] {
        assert_eq!(bare.arguments("p", data), "{}");
    }
}

#[test]
fn a_result_becomes_a_response_or_an_error_of_the_table_and_back() {
    let function = Function::of(&pattern(None, ERRORS), &login(), Direction::Inbound).unwrap();
    let good = vec![Val::Result(Ok(Some(Box::new(Val::Record(vec![("id".into(), Val::U64(7))])))))];
    assert_eq!(function.outcome(&good).unwrap(), Answer::Response(r#"{"id":7}"#.into()));
    assert_eq!(function.results(&Outcome::Response(r#"{"id":"7"}"#)).unwrap(), Some(good));
    for (values, status, message) in [
        (refused("not-found", None), 404, "User not found"),
        (refused("invalid", Some("say \"please\"")), 400, "say \"please\""),
        (refused("email-taken", None), 400, "User already exists"),
        (refused("blocked", Some("{}")), 400, "{} is blocked"),
        (refused("unavailable", Some("orders are down")), 503, "Try again: orders are down"),
    ] {
        let Answer::Error(json) = function.outcome(&values).unwrap() else { panic!("{values:?}") };
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read, json!({ "status": status, "message": message }));
        assert_eq!(function.results(&Outcome::Error(&json)).unwrap(), Some(values), "{json}");
    }
}

#[test]
fn members_that_the_system_does_not_know_are_left_out_of_responses() {
    let user = record([("id", U64), ("user-role", STRING)]);
    let ty = async_func(&[], Some(&result(Some(record([("user", user), ("token", STRING)])), Some(error()))));
    let table = NestPattern { leave_out: vec!["user.userRole".into()], ..pattern(None, ERRORS) };
    let function = Function::of(&table, &ty, Direction::Inbound).unwrap();
    let user = Val::Record(vec![("id".into(), Val::U64(7)), ("user-role".into(), Val::String("admin".into()))]);
    let session = Val::Record(vec![("user".into(), user), ("token".into(), Val::String("t".into()))]);
    let outcome = function.outcome(&[Val::Result(Ok(Some(Box::new(session))))]).unwrap();
    assert_eq!(outcome, Answer::Response(r#"{"user":{"id":7},"token":"t"}"#.into()));
    // Errors are not changed.
    assert!(matches!(function.outcome(&refused("not-found", None)).unwrap(), Answer::Error(_)));
}

#[test]
fn the_response_of_a_function_without_a_value_is_ignored() {
    let fallible = async_func(&[], Some(&result(None, Some(error()))));
    for (ty, errors, expected) in
        [(fallible, ERRORS, vec![Val::Result(Ok(None))]), (async_func(&[], None), &[][..], Vec::new())]
    {
        let function = Function::of(&pattern(None, errors), &ty, Direction::Outbound).unwrap();
        for json in ["null", "true", r#"{"affected":1}"#] {
            assert_eq!(function.results(&Outcome::Response(json)).unwrap().as_ref(), Some(&expected), "{json}");
        }
    }
}

#[test]
fn an_error_of_nest_becomes_the_case_that_fits_best_or_none() {
    let function = Function::of(&pattern(None, ERRORS), &login(), Direction::Outbound).unwrap();
    let read = |json: &str| function.results(&Outcome::Error(json)).unwrap();
    assert_eq!(
        read(r#"{"statusCode":400,"message":["a","b"],"error":"Bad Request"}"#),
        Some(refused("invalid", Some("a, b")))
    );
    assert_eq!(read(r#"{"status":404,"message":"no such thing"}"#), Some(refused("not-found", None)));
    assert_eq!(read(r#"{"status":400}"#), Some(refused("invalid", Some(""))));
    for other in [r#"{"status":"error","message":"Internal server error"}"#, r#"{"status":401}"#, "{}", "\"no\"", "[]"]
    {
        assert_eq!(read(other), None, "{other}");
    }
    assert!(function.results(&Outcome::Response(r#"{"id":-1}"#)).is_err());
}

#[test]
fn an_adapter_gets_json_and_answers_with_it() {
    let function = Function::of(&adapter(), &json_function(), Direction::Inbound).unwrap();
    let arguments = function.arguments(r#"{"cmd":"x"}"#, r#"{"a":"\"b"}"#);
    let params = [Val::String(r#"{"cmd":"x"}"#.into()), Val::String(r#"{"a":"\"b"}"#.into())];
    assert_eq!(function.codec.decode_params(arguments.as_bytes()).unwrap(), params);
    assert_eq!(function.message(&params).unwrap(), (Some(r#"{"cmd":"x"}"#.to_owned()), r#"{"a":"\"b"}"#.to_owned()));
    let ok = |text: &str| vec![Val::Result(Ok(Some(Box::new(Val::String(text.into())))))];
    assert_eq!(function.outcome(&ok(" [1] ")).unwrap(), Answer::Response("[1]".into()));
    let exception = refused("exception", Some(r#"{"status":404}"#));
    assert_eq!(function.outcome(&exception).unwrap(), Answer::Error(r#"{"status":404}"#.into()));
    let Answer::Error(json) = function.outcome(&refused("unavailable", Some("down"))).unwrap() else { panic!() };
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, json!({ "status": 503, "message": "down" }));
    // Text that would break out of its place in the packet.
    for bad in ["", "1,\"id\":2", "{} {}", "x", r#"{"a":}"#] {
        assert!(function.outcome(&ok(bad)).is_err(), "{bad}");
        assert!(function.message(&[Val::String("p".into()), Val::String(bad.into())]).is_err(), "{bad}");
    }
    assert_eq!(function.results(&Outcome::Error(r#"{"status":404}"#)).unwrap(), Some(exception));
    assert_eq!(function.results(&Outcome::Response("[1]")).unwrap(), Some(ok("[1]")));
}

#[test]
fn a_table_that_does_not_fit_says_what_would_fix_it() {
    for (pattern, ty, direction, fragments) in [
        (
            pattern(None, &ERRORS[1..]),
            login(),
            Direction::Inbound,
            ["can answer with the error `not-found`", "not-found = {"],
        ),
        (
            pattern(None, &[("not-fond", 404, None)]),
            login(),
            Direction::Outbound,
            ["has no error `not-fond`", "not-found, invalid"],
        ),
        (pattern(None, &[("not-found", 404, None)]), login(), Direction::Outbound, ["needs a text", "message = "]),
        (pattern(Some("email"), ERRORS), login(), Direction::Inbound, ["is not its only parameter", "remove `data`"]),
        (
            pattern(None, &[]),
            async_func(&[], Some(&result(None, Some(STRING)))),
            Direction::Inbound,
            ["neither a variant nor an enum", "write an adapter"],
        ),
        (
            pattern(None, &[("odd", 400, None)]),
            async_func(&[], Some(&result(None, Some(variant([("odd", Some(U64))]))))),
            Direction::Outbound,
            ["that no message of Nest gives", "write an adapter"],
        ),
        (
            NestPattern { leave_out: vec!["user.role".into()], ..pattern(None, ERRORS) },
            login(),
            Direction::Inbound,
            ["returns nothing that has `user.role`", "in camel case"],
        ),
        (
            NestPattern { leave_out: vec!["id".into()], ..pattern(None, ERRORS) },
            login(),
            Direction::Outbound,
            ["cannot use", "remove `leave_out`"],
        ),
        (adapter(), login(), Direction::Inbound, ["is `handle: func(email", "build the component against"]),
        (
            NestPattern { data: Some("data".into()), ..adapter() },
            json_function(),
            Direction::Inbound,
            ["cannot use", "remove `data` and `errors`"],
        ),
    ] {
        let text = problem(&pattern, &ty, direction);
        for fragment in fragments {
            assert!(text.contains(fragment), "{fragment:?} is missing in {text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_values_cross_a_packet_in_both_directions(
        (ty, value) in any_type().prop_flat_map(|ty| { let value = any_value(&ty); (Just(ty), value) }),
    ) {
        let func = async_func(&[("value", ty)], None);
        let by_name = Function::of(&pattern(None, &[]), &func, Direction::Inbound).unwrap();
        let whole = Function::of(&pattern(Some("value"), &[]), &func, Direction::Inbound).unwrap();
        for function in [by_name, whole] {
            let (_, data) = function.message(std::slice::from_ref(&value)).unwrap();
            let packet = super::super::packet::message("p", &data, Some("x"));
            let read = super::super::packet::Incoming::parse(packet.as_bytes()).unwrap();
            let arguments = function.arguments("p", read.data);
            prop_assert_eq!(function.codec.decode_params(arguments.as_bytes()).unwrap(), vec![value.clone()]);
        }
    }

    #[test]
    fn any_error_of_a_service_is_a_case_or_none(json in r#"[\{\}\[\]",:0-9a-z]{0,24}"#, status: u16, message: String) {
        let function = Function::of(&pattern(None, ERRORS), &login(), Direction::Outbound).unwrap();
        prop_assert!(function.results(&Outcome::Error(&json)).is_ok());
        let json = json!({ "status": status, "message": message }).to_string();
        prop_assert!(function.results(&Outcome::Error(&json)).is_ok());
    }
}
