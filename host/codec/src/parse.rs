//! Parses a signature, as [`signature`](super::signature) writes it, back into types. The text comes from another host.
//!
//! The text is untrusted. Parsed types nest no deeper than those of a component, and take a few times the memory of the
//! text, which the caller must bound. Types that no codec can carry (handles, two names that are the same in JSON) are
//! refused, as for a component.

use super::shape::{Case, Field, MAX_DEPTH, Name, Shape, camel_case};
use std::collections::HashSet;

/// The types in a signature.
pub(super) struct Parsed {
    pub params: Shape,
    pub result: Option<Shape>,
}

/// Parses a signature on one line, such as `name: func(a: u64) -> string`; `None` when the text is not a signature.
pub(super) fn function(text: &str) -> Option<Parsed> {
    let mut parser = Parser { rest: text, nesting: 0 };
    parser.word()?;
    parser.expect(": ")?;
    parser.eat("async ");
    parser.expect("func(")?;
    let params = Shape::Params(parser.fields(")")?);
    let result = if parser.eat(" -> ") { Some(parser.ty()?) } else { None };
    parser.rest.is_empty().then_some(Parsed { params, result })
}

struct Parser<'a> {
    rest: &'a str,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.eat(text).then_some(())
    }

    /// A name of WIT, or a word of its types.
    fn word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word)
    }

    fn ty(&mut self) -> Option<Shape> {
        self.nesting += 1;
        // Each level of nesting in the text is a level of the type.
        if self.nesting > MAX_DEPTH {
            return None;
        }
        let shape = match self.word()? {
            "bool" => Shape::Bool,
            "s8" => Shape::S8,
            "u8" => Shape::U8,
            "s16" => Shape::S16,
            "u16" => Shape::U16,
            "s32" => Shape::S32,
            "u32" => Shape::U32,
            "s64" => Shape::S64,
            "u64" => Shape::U64,
            "f32" => Shape::Float32,
            "f64" => Shape::Float64,
            "char" => Shape::Char,
            "string" => Shape::String,
            "list" => {
                self.expect("<")?;
                let item = Box::new(self.ty()?);
                match self.eat(", ") {
                    true => {
                        let length = self.word()?.parse().ok()?;
                        self.expect(">")?;
                        Shape::FixedLengthList(item, length)
                    }
                    false => {
                        self.expect(">")?;
                        Shape::List(item)
                    }
                }
            }
            "map" => {
                self.expect("<")?;
                let key = Box::new(self.ty()?);
                self.expect(", ")?;
                let value = Box::new(self.ty()?);
                self.expect(">")?;
                Shape::Map(key, value)
            }
            "option" => {
                self.expect("<")?;
                let inner = Box::new(self.ty()?);
                self.expect(">")?;
                Shape::Option(inner)
            }
            "tuple" => {
                self.expect("<")?;
                let mut items = vec![self.ty()?];
                while self.eat(", ") {
                    items.push(self.ty()?);
                }
                self.expect(">")?;
                Shape::Tuple(items)
            }
            "result" if !self.eat("<") => Shape::Result(None, None),
            "result" => {
                let ok = if self.eat("_") { None } else { Some(Box::new(self.ty()?)) };
                let err = if self.eat(", ") { Some(Box::new(self.ty()?)) } else { None };
                self.expect(">")?;
                Shape::Result(ok, err)
            }
            "record" => {
                self.expect(" { ")?;
                Shape::Record(self.fields(" }")?)
            }
            "variant" => {
                self.expect(" { ")?;
                Shape::Variant(self.items(" }", |parser, name| {
                    let payload = if parser.eat("(") {
                        let payload = parser.ty()?;
                        parser.expect(")")?;
                        Some(payload)
                    } else {
                        None
                    };
                    Some(Case { name, payload })
                })?)
            }
            "enum" => {
                self.expect(" { ")?;
                Shape::Enum(self.items(" }", |_, name| Some(name))?)
            }
            "flags" => {
                self.expect(" { ")?;
                Shape::Flags(self.items(" }", |_, name| Some(name))?)
            }
            _ => return None,
        };
        self.nesting -= 1;
        Some(shape)
    }

    fn fields(&mut self, close: &str) -> Option<Vec<Field>> {
        self.items(close, |parser, name| {
            parser.expect(": ")?;
            Some(Field { name, shape: parser.ty()? })
        })
    }

    /// Items separated by commas, up to `close`. Each begins with a name, which must be unique.
    fn items<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self, Name) -> Option<T>) -> Option<Vec<T>> {
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        if self.eat(close) {
            return Some(items);
        }
        loop {
            let wit = self.word()?.to_owned();
            let json = camel_case(&wit);
            if !seen.insert(json.clone()) {
                return None;
            }
            items.push(item(self, Name { wit, json })?);
            if self.eat(close) {
                return Some(items);
            }
            self.expect(", ")?;
        }
    }
}
