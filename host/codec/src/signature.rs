//! Writes a function's type as WIT text, for `souk call --list` and for messages about types that differ.
//!
//! wasmtime keeps the structure of types but not their names, so records and variants are written in full at each
//! place.

use sha2::{Digest as _, Sha256};
use std::fmt::Write;
use wasmtime::component::types::{ComponentFunc, Type};

/// The line width that [`signature_lines`] keeps to if it can.
const WIDTH: usize = 100;

/// The signature on one line: `get: async func(id: u64) -> result<record { id: u64, name: string }, string>`.
pub fn signature(name: &str, func: &ComponentFunc) -> String {
    let mut printer = Printer::new(usize::MAX);
    printer.function(name, func);
    printer.out
}

/// The signature written as a `func`, even if the function is an `async func`: a link can join the two.
pub fn sync_signature(name: &str, func: &ComponentFunc) -> String {
    let mut printer = Printer::new(usize::MAX);
    printer.typed(name, "func", func);
    printer.out
}

/// A digest of the function's signature: the first 16 bytes of its SHA-256, in hexadecimal. It ignores whether the
/// function is `async`, because a link can join a `func` with an `async func`.
pub fn digest(name: &str, func: &ComponentFunc) -> String {
    digest_of_text(&sync_signature(name, func))
}

/// The digest of the function that `signature` describes.
pub fn digest_of(signature: &str) -> String {
    match signature.split_once(": async func(") {
        // A name has no colon, so this is the first colon.
        Some((name, rest)) if !name.contains(':') => digest_of_text(&format!("{name}: func({rest}")),
        _ => digest_of_text(signature),
    }
}

fn digest_of_text(sync_signature: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(sync_signature));
    digest.truncate(32);
    digest
}

/// The signature on one line, or, if that is too long, with records, variants and parameters on several lines.
pub fn signature_lines(name: &str, func: &ComponentFunc) -> String {
    let flat = signature(name, func);
    if flat.len() <= WIDTH {
        return flat;
    }
    let mut printer = Printer::new(WIDTH);
    printer.function(name, func);
    printer.out
}

/// A type on one line.
pub fn type_text(ty: &Type) -> String {
    let mut printer = Printer::new(usize::MAX);
    printer.ty(ty);
    printer.out
}

/// A line in braces or parentheses: `label: type` (a field or parameter), `label(type)` (a case) or `label`.
struct Item<'a> {
    label: &'a str,
    ty: Option<Type>,
    is_case: bool,
}

impl<'a> Item<'a> {
    fn field(label: &'a str, ty: Type) -> Self {
        Item { label, ty: Some(ty), is_case: false }
    }

    fn case(label: &'a str, ty: Option<Type>) -> Self {
        Item { label, ty, is_case: true }
    }
}

struct Printer {
    out: String,
    /// `usize::MAX` prints on one line.
    width: usize,
    indent: usize,
}

impl Printer {
    fn new(width: usize) -> Self {
        Printer { out: String::new(), width, indent: 0 }
    }

    fn function(&mut self, name: &str, func: &ComponentFunc) {
        self.typed(name, if func.async_() { "async func" } else { "func" }, func);
    }

    fn typed(&mut self, name: &str, kind: &str, func: &ComponentFunc) {
        let _ = write!(self.out, "{name}: {kind}");
        let params: Vec<_> = func.params().map(|(name, ty)| Item::field(name, ty)).collect();
        self.items("(", &params, ")");
        if let Some(ty) = func.results().next() {
            self.out.push_str(" -> ");
            self.ty(&ty);
        }
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Bool => self.out.push_str("bool"),
            Type::S8 => self.out.push_str("s8"),
            Type::U8 => self.out.push_str("u8"),
            Type::S16 => self.out.push_str("s16"),
            Type::U16 => self.out.push_str("u16"),
            Type::S32 => self.out.push_str("s32"),
            Type::U32 => self.out.push_str("u32"),
            Type::S64 => self.out.push_str("s64"),
            Type::U64 => self.out.push_str("u64"),
            Type::Float32 => self.out.push_str("f32"),
            Type::Float64 => self.out.push_str("f64"),
            Type::Char => self.out.push_str("char"),
            Type::String => self.out.push_str("string"),
            Type::ErrorContext => self.out.push_str("error-context"),
            // wasmtime does not keep the name of a resource either.
            Type::Own(_) => self.out.push_str("own<resource>"),
            Type::Borrow(_) => self.out.push_str("borrow<resource>"),
            Type::List(list) => self.of("list", &[list.ty()]),
            Type::FixedLengthList(list) => {
                self.out.push_str("list<");
                self.ty(&list.ty());
                let _ = write!(self.out, ", {}>", list.len());
            }
            Type::Map(map) => self.of("map", &[map.key(), map.value()]),
            Type::Option(option) => self.of("option", &[option.ty()]),
            Type::Tuple(tuple) => self.of("tuple", &tuple.types().collect::<Vec<_>>()),
            Type::Future(future) => self.of("future", future.ty().as_slice()),
            Type::Stream(stream) => self.of("stream", stream.ty().as_slice()),
            Type::Result(result) => match (result.ok(), result.err()) {
                (None, Some(err)) => {
                    self.out.push_str("result<_, ");
                    self.ty(&err);
                    self.out.push('>');
                }
                (ok, err) => self.of("result", &ok.into_iter().chain(err).collect::<Vec<_>>()),
            },
            Type::Record(record) => {
                let fields: Vec<_> = record.fields().map(|field| Item::field(field.name, field.ty)).collect();
                self.items("record {", &fields, "}");
            }
            Type::Variant(variant) => {
                let cases: Vec<_> = variant.cases().map(|case| Item::case(case.name, case.ty)).collect();
                self.items("variant {", &cases, "}");
            }
            Type::Enum(names) => {
                self.items("enum {", &names.names().map(|name| Item::case(name, None)).collect::<Vec<_>>(), "}");
            }
            Type::Flags(names) => {
                self.items("flags {", &names.names().map(|name| Item::case(name, None)).collect::<Vec<_>>(), "}");
            }
        }
    }

    /// `kind<a, b>`, or `kind` alone.
    fn of(&mut self, kind: &str, types: &[Type]) {
        self.out.push_str(kind);
        for (i, ty) in types.iter().enumerate() {
            self.out.push_str(if i == 0 { "<" } else { ", " });
            self.ty(ty);
        }
        if !types.is_empty() {
            self.out.push('>');
        }
    }

    fn items(&mut self, open: &str, items: &[Item<'_>], close: &str) {
        self.out.push_str(open);
        let line = self.out.rsplit('\n').next().map_or(0, str::len);
        if self.width == usize::MAX || line.saturating_add(flat_len(items)) <= self.width {
            // Braces have spaces inside, parentheses have not.
            let space = if close == "}" { " " } else { "" };
            self.out.push_str(space);
            for (i, item) in items.iter().enumerate() {
                self.out.push_str(if i == 0 { "" } else { ", " });
                self.item(item);
            }
            self.out.push_str(space);
        } else {
            self.indent += 1;
            for item in items {
                self.line();
                self.item(item);
                self.out.push(',');
            }
            self.indent -= 1;
            self.line();
        }
        self.out.push_str(close);
    }

    fn item(&mut self, item: &Item<'_>) {
        self.out.push_str(item.label);
        match &item.ty {
            Some(ty) if item.is_case => {
                self.out.push('(');
                self.ty(ty);
                self.out.push(')');
            }
            Some(ty) => {
                self.out.push_str(": ");
                self.ty(ty);
            }
            None => {}
        }
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("    ", self.indent));
    }
}

/// The width of the items on one line, with separators and the closing bracket.
fn flat_len(items: &[Item<'_>]) -> usize {
    let mut flat = Printer::new(usize::MAX);
    for item in items {
        flat.item(item);
        flat.out.push_str(", ");
    }
    flat.out.len() + 2
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
