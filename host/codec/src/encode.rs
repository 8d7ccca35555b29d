//! Writing: serde writes each value, with its shape, directly to the output.

use super::shape::{Case, Field, Name, Shape};
use super::trail::{Step, Trail};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use wasmtime::component::Val;

/// The largest whole number that every JSON parser reads exactly. A larger number is written as a string.
pub(super) const EXACT: u64 = 1 << 53;

/// A value with its shape.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub value: &'a Val,
    pub shape: &'a Shape,
    pub trail: &'a Trail<'a>,
    /// The step from the enclosing value to this one.
    pub step: Step<'a>,
}

/// The parameters of a function.
pub(super) struct Arguments<'a> {
    pub values: &'a [Val],
    pub fields: &'a [Field],
    pub trail: &'a Trail<'a>,
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.values.len() != self.fields.len() {
            let (expected, found) = (self.fields.len(), self.values.len());
            return Err(S::Error::custom(
                self.trail.fail(format!("expected {expected} parameters, found {found} values")),
            ));
        }
        object(out, self.fields, self.values.iter(), self.trail)
    }
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.write(out).inspect_err(|_| self.trail.passed(self.step))
    }
}

impl<'a> Typed<'a> {
    fn write<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match (self.value, self.shape) {
            (Val::Bool(v), Shape::Bool) => out.serialize_bool(*v),
            (Val::S8(v), Shape::S8) => out.serialize_i8(*v),
            (Val::U8(v), Shape::U8) => out.serialize_u8(*v),
            (Val::S16(v), Shape::S16) => out.serialize_i16(*v),
            (Val::U16(v), Shape::U16) => out.serialize_u16(*v),
            (Val::S32(v), Shape::S32) => out.serialize_i32(*v),
            (Val::U32(v), Shape::U32) => out.serialize_u32(*v),
            (Val::S64(v), Shape::S64) if v.unsigned_abs() > EXACT => out.collect_str(v),
            (Val::S64(v), Shape::S64) => out.serialize_i64(*v),
            (Val::U64(v), Shape::U64) if *v > EXACT => out.collect_str(v),
            (Val::U64(v), Shape::U64) => out.serialize_u64(*v),
            (Val::Float32(v), Shape::Float32) => self.float(out, f64::from(*v)),
            (Val::Float64(v), Shape::Float64) => self.float(out, *v),
            (Val::Char(v), Shape::Char) => out.serialize_char(*v),
            (Val::String(v), Shape::String) => out.serialize_str(v),
            (Val::List(items), Shape::List(item)) => self.array(out, items.iter().map(|v| (v, &**item))),
            (Val::FixedLengthList(items), Shape::FixedLengthList(item, length)) if same(items.len(), *length) => {
                self.array(out, items.iter().map(|v| (v, &**item)))
            }
            (Val::Map(entries), Shape::Map(key, value)) => out.collect_seq(
                entries
                    .iter()
                    .enumerate()
                    .map(|(i, (k, v))| [self.part(k, key, Step::Entry(i, 0)), self.part(v, value, Step::Entry(i, 1))]),
            ),
            (Val::Record(values), Shape::Record(fields)) if same_names(values, fields) => {
                object(out, fields, values.iter().map(|(_, v)| v), self.trail)
            }
            (Val::Tuple(items), Shape::Tuple(shapes)) if items.len() == shapes.len() => {
                self.array(out, items.iter().zip(shapes))
            }
            (Val::Variant(case, payload), Shape::Variant(cases)) => {
                match (cases.iter().find(|c| c.name.wit == *case), payload) {
                    (Some(Case { name, payload: None }), None) => out.serialize_str(&name.json),
                    (Some(Case { name, payload: Some(shape) }), Some(value)) => {
                        self.tagged(out, &name.json, Some((value, shape)))
                    }
                    _ => self.mismatch(),
                }
            }
            (Val::Enum(name), Shape::Enum(names)) => match json_name(names, name) {
                Some(json) => out.serialize_str(json),
                None => self.mismatch(),
            },
            (Val::Option(None), Shape::Option(_)) => out.serialize_unit(),
            (Val::Option(Some(value)), Shape::Option(inner)) => match **inner {
                Shape::Option(_) => self.tagged(out, "some", Some((value, inner))),
                _ => self.part(value, inner, Step::Root).serialize(out),
            },
            (Val::Result(result), Shape::Result(ok, err)) => {
                let (tag, value, shape) = match result {
                    Ok(value) => ("ok", value, ok),
                    Err(value) => ("err", value, err),
                };
                match (value, shape) {
                    (None, None) => self.tagged(out, tag, None),
                    (Some(value), Some(shape)) => self.tagged(out, tag, Some((value, shape))),
                    _ => self.mismatch(),
                }
            }
            (Val::Flags(set), Shape::Flags(names)) => {
                let json: Option<Vec<_>> = set.iter().map(|name| json_name(names, name)).collect();
                match json {
                    Some(json) => out.collect_seq(json),
                    None => self.mismatch(),
                }
            }
            _ => self.mismatch(),
        }
    }

    fn part(&self, value: &'a Val, shape: &'a Shape, step: Step<'a>) -> Typed<'a> {
        Typed { value, shape, trail: self.trail, step }
    }

    fn float<S: Serializer>(&self, out: S, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            return out.serialize_f64(value);
        }
        Err(S::Error::custom(self.trail.fail("a NaN or an infinity, which JSON cannot carry")))
    }

    fn array<S: Serializer>(
        &self,
        out: S,
        items: impl Iterator<Item = (&'a Val, &'a Shape)>,
    ) -> Result<S::Ok, S::Error> {
        out.collect_seq(items.enumerate().map(|(i, (value, shape))| self.part(value, shape, Step::Index(i))))
    }

    /// `{"tag": value}`.
    fn tagged<S: Serializer>(
        &self,
        out: S,
        tag: &'a str,
        value: Option<(&'a Val, &'a Shape)>,
    ) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(1))?;
        match value {
            Some((value, shape)) => map.serialize_entry(tag, &self.part(value, shape, Step::Key(tag)))?,
            None => map.serialize_entry(tag, &())?,
        }
        map.end()
    }

    /// The error for a value of another type. wasmtime checks what a component returns, so this is a bug in the host.
    fn mismatch<T, E: Error>(&self) -> Result<T, E> {
        Err(E::custom(self.trail.fail(format!("expected {}, found a value of another type", self.shape.describe()))))
    }
}

fn object<'a, S: Serializer>(
    out: S,
    fields: &'a [Field],
    values: impl Iterator<Item = &'a Val>,
    trail: &'a Trail<'a>,
) -> Result<S::Ok, S::Error> {
    out.collect_map(fields.iter().zip(values).map(|(field, value)| {
        let step = Step::Key(&field.name.json);
        (field.name.json.as_str(), Typed { value, shape: &field.shape, trail, step })
    }))
}

fn same(found: usize, expected: u32) -> bool {
    usize::try_from(expected).is_ok_and(|expected| expected == found)
}

fn same_names(values: &[(String, Val)], fields: &[Field]) -> bool {
    values.len() == fields.len() && values.iter().zip(fields).all(|((name, _), field)| *name == field.name.wit)
}

fn json_name<'a>(names: &'a [Name], wit: &str) -> Option<&'a str> {
    names.iter().find(|name| name.wit == wit).map(|name| name.json.as_str())
}
