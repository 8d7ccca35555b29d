//! A WIT type in the form that the codec uses: the same tree, with the names in camel case beside the original ones.
//!
//! wasmtime's own `Type` is an index into shared tables: every step through it clones two reference counts, and each
//! value would need its field names converted to camel case again. A tree that owns its parts has neither cost.
//! wasmparser bounds its size: no type of a component has more than a million parts when it is fully expanded.

use super::trail::CodecError;
use std::collections::HashMap;
use wasmtime::component::types::Type;

/// How deep the JSON of a contract's types may nest. Component types nest 100 deep at most, but a map takes two levels
/// of JSON for one of the type, and serde_json reads no more than 128.
pub const MAX_DEPTH: usize = 100;

#[derive(Debug)]
pub(super) enum Shape {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    Float32,
    Float64,
    Char,
    String,
    List(Box<Shape>),
    FixedLengthList(Box<Shape>, u32),
    /// Key and value.
    Map(Box<Shape>, Box<Shape>),
    Record(Vec<Field>),
    Tuple(Vec<Shape>),
    Variant(Vec<Case>),
    Enum(Vec<Name>),
    Option(Box<Shape>),
    Result(Side, Side),
    Flags(Vec<Name>),
    /// The parameters of a function: like a record, but they can be read by position too, and become a `Val::Tuple`.
    Params(Vec<Field>),
}

/// The type of a result's side, if it has one.
pub(super) type Side = Option<Box<Shape>>;

#[derive(Debug)]
pub(super) struct Name {
    pub wit: String,
    pub json: String,
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: Name,
    pub shape: Shape,
}

#[derive(Debug)]
pub(super) struct Case {
    pub name: Name,
    pub payload: Option<Shape>,
}

/// The current place of [`Shape::of`] in a function's type.
#[derive(Clone)]
pub(super) struct TypePath {
    text: String,
    /// Levels of JSON nesting at this place.
    depth: usize,
}

impl TypePath {
    pub(crate) fn root(text: &str) -> Self {
        TypePath { text: text.to_owned(), depth: 0 }
    }

    fn then(&self, part: &str) -> Self {
        TypePath { text: format!("{}{part}", self.text), depth: self.depth + 1 }
    }

    fn error(&self, message: impl Into<String>) -> CodecError {
        CodecError { path: self.text.clone(), message: message.into() }
    }
}

impl Shape {
    /// The shape of a type.
    ///
    /// # Errors
    /// When the type has a handle or two names that are the same in camel case, or nests too deep.
    pub(crate) fn of(ty: &Type, at: &TypePath) -> Result<Shape, CodecError> {
        if at.depth > MAX_DEPTH {
            return Err(at.error(format!("its JSON nests more than {MAX_DEPTH} levels deep")));
        }
        let child = |ty: &Type, part: &str| Shape::of(ty, &at.then(part)).map(Box::new);
        let side = |ty: Option<Type>, part: &str| ty.map(|ty| child(&ty, part)).transpose();
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::S8,
            Type::U8 => Shape::U8,
            Type::S16 => Shape::S16,
            Type::U16 => Shape::U16,
            Type::S32 => Shape::S32,
            Type::U32 => Shape::U32,
            Type::S64 => Shape::S64,
            Type::U64 => Shape::U64,
            Type::Float32 => Shape::Float32,
            Type::Float64 => Shape::Float64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) => Shape::List(child(&list.ty(), "[]")?),
            Type::FixedLengthList(list) => Shape::FixedLengthList(child(&list.ty(), "[]")?, list.len()),
            Type::Map(map) => {
                // A map is an array of arrays, so an entry adds a second level.
                let mut entry = at.then("[]");
                entry.depth += 1;
                let key = Shape::of(&map.key(), &TypePath { text: format!("{}[0]", entry.text), ..entry })?;
                let value = Shape::of(&map.value(), &TypePath { text: format!("{}[1]", entry.text), ..entry })?;
                Shape::Map(Box::new(key), Box::new(value))
            }
            Type::Record(record) => Shape::Record(fields(record.fields().map(|f| (f.name, f.ty)), at)?),
            Type::Tuple(tuple) => Shape::Tuple(
                tuple
                    .types()
                    .enumerate()
                    .map(|(i, ty)| Ok(*child(&ty, &format!("[{i}]"))?))
                    .collect::<Result<_, _>>()?,
            ),
            Type::Variant(variant) => {
                let names = names(variant.cases().map(|case| case.name), at)?;
                let payloads = variant.cases().map(|case| case.ty);
                let case = |(name, ty): (Name, Option<Type>)| {
                    let payload = ty.map(|ty| child(&ty, &format!(".{}", name.json))).transpose()?;
                    Ok(Case { name, payload: payload.map(|p| *p) })
                };
                Shape::Variant(names.into_iter().zip(payloads).map(case).collect::<Result<_, _>>()?)
            }
            Type::Enum(names_of) => Shape::Enum(names(names_of.names(), at)?),
            Type::Flags(flags) => Shape::Flags(names(flags.names(), at)?),
            Type::Option(option) => match option.ty() {
                inner @ Type::Option(_) => Shape::Option(child(&inner, ".some")?),
                inner => Shape::Option(Box::new(Shape::of(&inner, at)?)),
            },
            Type::Result(result) => Shape::Result(side(result.ok(), ".ok")?, side(result.err(), ".err")?),
            Type::Own(_) => return Err(at.error("a resource (an owned handle)")),
            Type::Borrow(_) => return Err(at.error("a resource (a borrowed handle)")),
            Type::Future(_) => return Err(at.error("a future")),
            Type::Stream(_) => return Err(at.error("a stream")),
            Type::ErrorContext => return Err(at.error("an error-context")),
        })
    }

    /// The shape of a function's parameters.
    pub(crate) fn params<'a>(params: impl Iterator<Item = (&'a str, Type)>) -> Result<Shape, CodecError> {
        Ok(Shape::Params(fields(params, &TypePath::root("parameters"))?))
    }

    /// A description of the expected JSON, for error messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Shape::Bool => "bool".to_owned(),
            Shape::S8 => "s8".to_owned(),
            Shape::U8 => "u8".to_owned(),
            Shape::S16 => "s16".to_owned(),
            Shape::U16 => "u16".to_owned(),
            Shape::S32 => "s32".to_owned(),
            Shape::U32 => "u32".to_owned(),
            Shape::S64 => "s64".to_owned(),
            Shape::U64 => "u64".to_owned(),
            Shape::Float32 => "f32".to_owned(),
            Shape::Float64 => "f64".to_owned(),
            Shape::Char => "char (a string of one character)".to_owned(),
            Shape::String => "string".to_owned(),
            Shape::List(_) => "list (an array)".to_owned(),
            Shape::FixedLengthList(_, length) => format!("list (an array of {length})"),
            Shape::Map(..) => "map (an array of [key, value])".to_owned(),
            Shape::Record(fields) => {
                format!("record (an object with {})", listed(fields.iter().map(|f| f.name.json.as_str())))
            }
            Shape::Tuple(shapes) => format!("tuple (an array of {})", shapes.len()),
            Shape::Variant(cases) => format!("variant (one of {})", listed(cases.iter().map(|c| c.name.json.as_str()))),
            Shape::Enum(names) => format!("enum (one of {})", listed(names.iter().map(|n| n.json.as_str()))),
            Shape::Option(_) => r#"option of an option (null or {"some": value})"#.to_owned(),
            Shape::Result(..) => r#"result ({"ok": value} or {"err": error})"#.to_owned(),
            Shape::Flags(names) => format!("flags (an array of {})", listed(names.iter().map(|n| n.json.as_str()))),
            Shape::Params(fields) => match fields.as_slice() {
                [] => "no parameters ({})".to_owned(),
                fields => {
                    format!("parameters (an object with {})", listed(fields.iter().map(|f| f.name.json.as_str())))
                }
            },
        }
    }
}

/// A list of names for a message; a contract can have thousands, so it shows only the first ones.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    if names.len() == 0 {
        return "none".to_owned();
    }
    let rest = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if rest > 0 {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

fn fields<'a>(fields: impl Iterator<Item = (&'a str, Type)>, at: &TypePath) -> Result<Vec<Field>, CodecError> {
    let (wit, types): (Vec<_>, Vec<_>) = fields.unzip();
    let field = |(name, ty): (Name, Type)| {
        let shape = Shape::of(&ty, &at.then(&format!(".{}", name.json)))?;
        Ok(Field { name, shape })
    };
    names(wit.into_iter(), at)?.into_iter().zip(types).map(field).collect()
}

/// The names with their JSON form. wasmtime 48 accepts names that differ only in their hyphens, but in JSON they are
/// the same.
fn names<'a>(wit: impl Iterator<Item = &'a str>, at: &TypePath) -> Result<Vec<Name>, CodecError> {
    let mut seen = HashMap::new();
    wit.map(|wit| {
        let json = camel_case(wit);
        match seen.insert(json.clone(), wit) {
            Some(other) => Err(at.error(format!("the names `{other}` and `{wit}`, which are both `{json}` in JSON"))),
            None => Ok(Name { wit: wit.to_owned(), json }),
        }
    })
    .collect()
}

/// A WIT name as a JSON key: `created-at` is `createdAt`, `base-URL` is `baseUrl`.
pub fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split('-') {
        let mut chars = word.chars();
        if !out.is_empty() {
            out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        }
        out.extend(chars.map(|c| c.to_ascii_lowercase()));
    }
    out
}
