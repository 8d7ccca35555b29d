//! A tree of WIT types, printed as the text of a component that
//! imports a function over them, and read back through wasmtime, so that every test sees the types a real link sees.

// Tests alone use it, and a test that panics is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::OnceLock;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Val};
use wasmtime::{Config, Engine};

pub const INTERFACE: &str = "test:links/things@1.0.0";

/// A WIT type.
#[derive(Debug, Clone, PartialEq)]
pub enum Ty {
    /// A primitive, by its name in component text.
    Prim(&'static str),
    List(Box<Ty>),
    Fixed(Box<Ty>, u32),
    Map(Box<Ty>, Box<Ty>),
    Record(Vec<(&'static str, Ty)>),
    Tuple(Vec<Ty>),
    Variant(Vec<(&'static str, Option<Ty>)>),
    Enum(Vec<&'static str>),
    Option(Box<Ty>),
    Result(Option<Box<Ty>>, Option<Box<Ty>>),
    Flags(Vec<&'static str>),
}

pub const U64: Ty = Ty::Prim("u64");
pub const STRING: Ty = Ty::Prim("string");

pub fn list(ty: Ty) -> Ty {
    Ty::List(Box::new(ty))
}
pub fn option(ty: Ty) -> Ty {
    Ty::Option(Box::new(ty))
}
pub fn record<const N: usize>(fields: [(&'static str, Ty); N]) -> Ty {
    Ty::Record(fields.into())
}
pub fn variant<const N: usize>(cases: [(&'static str, Option<Ty>); N]) -> Ty {
    Ty::Variant(cases.into())
}
pub fn result(ok: Option<Ty>, err: Option<Ty>) -> Ty {
    Ty::Result(ok.map(Box::new), err.map(Box::new))
}

/// The engine of these tests: with the types that are still behind a flag.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        config.wasm_component_model_map(true);
        config.wasm_component_model_fixed_length_lists(true);
        config.wasm_component_model_error_context(true);
        Engine::new(&config).unwrap()
    })
}

/// A function's type, as a component sees it that imports it.
pub fn func(params: &[(&str, Ty)], result: Option<&Ty>) -> ComponentFunc {
    imported(&component_text("func", params, result)).unwrap()
}

/// The same for an `async func`.
pub fn async_func(params: &[(&str, Ty)], result: Option<&Ty>) -> ComponentFunc {
    imported(&component_text("func async", params, result)).unwrap()
}

/// A component from its text form.
pub fn component(text: &str) -> wasmtime::Result<Component> {
    Component::new(engine(), wat::parse_str(text)?)
}

/// The function `f` of [`INTERFACE`] that a component in text form imports.
pub fn imported(text: &str) -> wasmtime::Result<ComponentFunc> {
    let component = component(text)?;
    let ty = component.component_type();
    let ComponentItem::ComponentInstance(instance) = ty.get_import(engine(), INTERFACE).unwrap().ty else {
        panic!("not an instance")
    };
    match instance.get_export(engine(), "f").unwrap().ty {
        ComponentItem::ComponentFunc(func) => Ok(func),
        other => panic!("not a function: {other:?}"),
    }
}

/// A component that imports [`INTERFACE`] with the function `f`.
pub fn component_text(kind: &str, params: &[(&str, Ty)], result: Option<&Ty>) -> String {
    let mut text = Text { out: String::new(), types: 0 };
    let params: String = params.iter().map(|(name, ty)| format!(r#" (param "{name}" {})"#, text.ty(ty))).collect();
    let result = result.map(|ty| format!(" (result {})", text.ty(ty))).unwrap_or_default();
    format!(
        r#"(component (import "{INTERFACE}" (instance {}
            (export "f" ({kind}{params}{result})))))"#,
        text.out
    )
}

struct Text {
    out: String,
    types: usize,
}

impl Text {
    /// How a type is referred to. Records, variants, enums and flags must be exported under a name to be used.
    fn ty(&mut self, ty: &Ty) -> String {
        let optional = |text: &mut Text, ty: &Option<Box<Ty>>| ty.as_ref().map(|ty| text.ty(ty));
        let quoted = |names: &[&str]| names.iter().map(|n| format!(r#" "{n}""#)).collect::<String>();
        match ty {
            Ty::Prim(name) => (*name).to_owned(),
            Ty::List(item) => format!("(list {})", self.ty(item)),
            Ty::Fixed(item, length) => format!("(list {} {length})", self.ty(item)),
            Ty::Map(key, value) => format!("(map {} {})", self.ty(key), self.ty(value)),
            Ty::Option(item) => format!("(option {})", self.ty(item)),
            Ty::Tuple(items) => {
                format!("(tuple{})", items.iter().map(|ty| format!(" {}", self.ty(ty))).collect::<String>())
            }
            Ty::Result(ok, err) => {
                let ok = optional(self, ok).map(|ok| format!(" {ok}")).unwrap_or_default();
                let err = optional(self, err).map(|err| format!(" (error {err})")).unwrap_or_default();
                format!("(result{ok}{err})")
            }
            Ty::Record(fields) => {
                let fields: String =
                    fields.iter().map(|(name, ty)| format!(r#" (field "{name}" {})"#, self.ty(ty))).collect();
                self.named(&format!("(record{fields})"))
            }
            Ty::Variant(cases) => {
                let case = |(name, ty): &(&str, Option<Ty>)| match ty {
                    Some(ty) => format!(r#" (case "{name}" {})"#, self.ty(ty)),
                    None => format!(r#" (case "{name}")"#),
                };
                let cases: String = cases.iter().map(case).collect();
                self.named(&format!("(variant{cases})"))
            }
            Ty::Enum(names) => self.named(&format!("(enum{})", quoted(names))),
            Ty::Flags(names) => self.named(&format!("(flags{})", quoted(names))),
        }
    }

    fn named(&mut self, definition: &str) -> String {
        let n = self.types;
        self.types += 1;
        write!(self.out, r#"(type $d{n} {definition}) (export "t{n}" (type $t{n} (eq $d{n})))"#).unwrap();
        format!("$t{n}")
    }
}

/// Names that are hard to spell in JSON, or that the forms of JSON use themselves.
const NAMES: &[&str] = &[
    "a",
    "id",
    "created-at",
    "base-URL",
    "URL",
    "x1-y2",
    "ok",
    "err",
    "some",
    "none",
    "null",
    "true",
    "type",
    "value",
    "is-a-b-c",
    "is-a-bc",
    "a2",
    "list",
];

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(NAMES, 1..=6).prop_shuffle()
}

/// Any type, a few levels deep.
pub fn any_type() -> impl Strategy<Value = Ty> {
    let prims = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"];
    let leaf = prop_oneof![
        8 => proptest::sample::select(prims.to_vec()).prop_map(Ty::Prim),
        1 => names().prop_map(Ty::Enum),
        1 => names().prop_map(Ty::Flags),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        // The keys that wasmtime allows.
        let key = proptest::sample::select(&["bool", "u8", "s64", "u64", "char", "string"][..]).prop_map(Ty::Prim);
        prop_oneof![
            2 => boxed.clone().prop_map(Ty::List),
            1 => (boxed.clone(), 1..4u32).prop_map(|(ty, n)| Ty::Fixed(ty, n)),
            1 => (key, boxed.clone()).prop_map(|(key, value)| Ty::Map(Box::new(key), value)),
            4 => boxed.clone().prop_map(Ty::Option),
            2 => (proptest::option::of(boxed.clone()), proptest::option::of(boxed)).prop_map(|(a, b)| Ty::Result(a, b)),
            2 => vec(inner.clone(), 1..4).prop_map(Ty::Tuple),
            3 => (names(), vec(inner.clone(), 6)).prop_map(|(n, t)| Ty::Record(n.into_iter().zip(t).collect())),
            3 => (names(), vec(proptest::option::of(inner), 6))
                .prop_map(|(n, t)| Ty::Variant(n.into_iter().zip(t).collect())),
        ]
    })
}

/// Any value of a type, except NaN and infinities.
pub fn any_value(ty: &Ty) -> BoxedStrategy<Val> {
    let side = |ty: &Option<Box<Ty>>| match ty {
        Some(ty) => any_value(ty).prop_map(|v| Some(Box::new(v))).boxed(),
        None => Just(None).boxed(),
    };
    match ty {
        Ty::Prim("bool") => any::<bool>().prop_map(Val::Bool).boxed(),
        Ty::Prim("s8") => any::<i8>().prop_map(Val::S8).boxed(),
        Ty::Prim("u8") => any::<u8>().prop_map(Val::U8).boxed(),
        Ty::Prim("s16") => any::<i16>().prop_map(Val::S16).boxed(),
        Ty::Prim("u16") => any::<u16>().prop_map(Val::U16).boxed(),
        Ty::Prim("s32") => any::<i32>().prop_map(Val::S32).boxed(),
        Ty::Prim("u32") => any::<u32>().prop_map(Val::U32).boxed(),
        Ty::Prim("s64") => {
            let edges = [i64::MIN, i64::MAX, 0, -1, 1 << 53, -(1 << 53), (1 << 53) + 1, -(1 << 53) - 1];
            prop_oneof![any::<i64>(), proptest::sample::select(edges.to_vec())].prop_map(Val::S64).boxed()
        }
        Ty::Prim("u64") => {
            let edges = [u64::MAX, 0, 1 << 53, (1 << 53) + 1, (1 << 53) - 1, 1 << 63];
            prop_oneof![any::<u64>(), proptest::sample::select(edges.to_vec())].prop_map(Val::U64).boxed()
        }
        Ty::Prim("f32") => any::<u32>()
            .prop_map(f32::from_bits)
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Val::Float32)
            .boxed(),
        Ty::Prim("f64") => {
            let edges = vec![0.0, -0.0, 0.1, f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), 1e21, 1e-7];
            prop_oneof![
                any::<u64>().prop_map(f64::from_bits),
                any::<i32>().prop_map(f64::from),
                proptest::sample::select(edges)
            ]
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Val::Float64)
            .boxed()
        }
        Ty::Prim("char") => any::<char>().prop_map(Val::Char).boxed(),
        Ty::Prim("string") => {
            let edges =
                ["", "null", "\0", "\"\\/\u{8}\u{c}\n\r\t", "\u{1f642}\u{200d}", "\u{ffff}", "{\"ok\":1}", "\u{2028}"];
            prop_oneof![any::<String>(), proptest::sample::select(edges.to_vec()).prop_map(str::to_owned)]
                .prop_map(Val::String)
                .boxed()
        }
        Ty::Prim(other) => unreachable!("{other}"),
        Ty::List(item) => vec(any_value(item), 0..4).prop_map(Val::List).boxed(),
        Ty::Fixed(item, n) => vec(any_value(item), *n as usize).prop_map(Val::FixedLengthList).boxed(),
        Ty::Map(key, value) => vec((any_value(key), any_value(value)), 0..4).prop_map(Val::Map).boxed(),
        Ty::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|(name, _)| (*name).to_owned()).collect();
            let values: Vec<_> = fields.iter().map(|(_, ty)| any_value(ty)).collect();
            values.prop_map(move |values| Val::Record(names.iter().cloned().zip(values).collect())).boxed()
        }
        Ty::Tuple(items) => items.iter().map(any_value).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Ty::Variant(cases) => {
            let case = |(name, ty): &(&'static str, Option<Ty>)| {
                let name = *name;
                side(&ty.clone().map(Box::new)).prop_map(move |payload| Val::Variant(name.to_owned(), payload)).boxed()
            };
            proptest::strategy::Union::new(cases.iter().map(case)).boxed()
        }
        Ty::Enum(names) => proptest::sample::select(names.clone()).prop_map(|n| Val::Enum(n.to_owned())).boxed(),
        Ty::Option(item) => proptest::option::of(any_value(item)).prop_map(|v| Val::Option(v.map(Box::new))).boxed(),
        Ty::Result(ok, err) => {
            prop_oneof![side(ok).prop_map(|v| Val::Result(Ok(v))), side(err).prop_map(|v| Val::Result(Err(v))),].boxed()
        }
        Ty::Flags(names) => proptest::sample::subsequence(names.clone(), 0..=names.len())
            .prop_map(|names| Val::Flags(names.into_iter().map(str::to_owned).collect()))
            .boxed(),
    }
}
