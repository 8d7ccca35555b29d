//! Which function gets messages. Scenarios with a real server test what happens to the messages.

use super::*;
use souk_bindings::trace::Redaction;
use wasmtime::Engine;
use wasmtime::component::Component;

/// A component that exports `handle-message` in each of `interfaces`, taking a parameter of the type `param`.
fn exported(interfaces: &[&str], param: &str) -> Exported {
    let exports: String =
        interfaces.iter().map(|interface| format!("(export \"{interface}\" (instance $handler))")).collect();
    let text = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)
                (func (export "handle") (param i32 i32) (result i32) i32.const 0))
            (core instance $m (instantiate $m))
            (func $handle (param "message" {param}) (result (result))
                (canon lift (core func $m "handle") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
            (instance $handler (export "handle-message" (func $handle)))
            {exports})"#
    );
    let engine = Engine::default();
    let component = Component::new(&engine, wat::parse_str(&text).unwrap()).unwrap();
    Exported::of(&engine, &component)
}

#[test]
fn messages_go_to_the_newest_interface_for_them_that_takes_bytes() {
    let (old, new) = ("fermyon:spin/inbound-redis", "spin:redis/inbound-redis@3.0.0");
    for (interfaces, param, interface) in [
        (&[old][..], "(list u8)", Some(old)),
        (&[new], "(list u8)", Some(new)),
        (&[old, new], "(list u8)", Some(new)),
        (&[new], "string", None),
        (&["test:redis/inbound-redis@3.0.0"], "(list u8)", None),
    ] {
        let exported = exported(interfaces, param);
        let found = handler(&exported).map(|position| exported.functions[position].interface.as_str());
        assert_eq!(found, interface, "{interfaces:?} {param}");
    }
}

#[test]
fn a_guests_error_is_logged_as_one_short_line() {
    let hidden = SharedRedaction::default();
    assert_eq!(error_line(&Val::Enum("error".into()), &hidden), "error");
    let other = |text: &str| Val::Variant("other".into(), Some(Box::new(Val::String(text.into()))));
    assert_eq!(error_line(&other("a\nb"), &hidden), "other: a b");
    assert!(error_line(&other(&"x".repeat(1_000)), &hidden).len() < 250);
    hidden.set(Redaction::of(["sk_live_1"].into_iter()));
    assert_eq!(error_line(&other("no access with sk_live_1"), &hidden), "other: no access with ***");
}
