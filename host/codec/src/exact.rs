//! Exact conversion of values between two versions of a type, so that a caller and a callee with two versions of a
//! contract can work together.
//!
//! The caller's parameters are converted to the callee's types, and the callee's result to the caller's type. A
//! conversion is allowed only if it works for **every** value of the source type, and keeps its meaning:
//!
//! | part | from a caller to its callee | from a callee to its caller |
//! |---|---|---|
//! | a record's field, or a parameter, that only the receiver has | allowed if it is an `option`: it is set to none | the same |
//! | a record's field that only the sender has | refused: the caller's value would be lost | allowed if it is an `option`: the caller does not know the field |
//! | a case of a variant or enum, or a flag, that only the receiver has | allowed: it never occurs | the same |
//! | a case or flag that only the sender has | refused: the receiver has no value for it | refused |
//!
//! Fields and cases are matched by name; their order does not matter. Everything else must be the same: primitives,
//! lengths of lists and tuples, the keys of maps, the sides of a result. Types are never widened: a `u32` does not
//! become a `u64`, nor a `string` an `option<string>`.

use super::shape::{Field, Name, Shape, Side};
use wasmtime::component::Val;

/// The side that a converted value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Caller,
    Callee,
}

impl Shape {
    /// Whether every value of this type that `sender` sends has an exact equivalent in `to`.
    pub(super) fn is_exact(&self, to: &Shape, sender: Sender) -> bool {
        match (self, to) {
            (Shape::List(a), Shape::List(b)) | (Shape::Option(a), Shape::Option(b)) => a.is_exact(b, sender),
            (Shape::FixedLengthList(a, of_a), Shape::FixedLengthList(b, of_b)) => of_a == of_b && a.is_exact(b, sender),
            // Different keys must stay different.
            (Shape::Map(key, a), Shape::Map(to_key, b)) => key.is_same(to_key) && a.is_exact(b, sender),
            (Shape::Tuple(a), Shape::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_exact(b, sender))
            }
            (Shape::Result(ok, err), Shape::Result(to_ok, to_err)) => {
                side_is_exact(ok, to_ok, sender) && side_is_exact(err, to_err, sender)
            }
            (Shape::Variant(cases), Shape::Variant(to)) => cases.iter().all(|case| {
                let there = to.iter().find(|other| other.name.wit == case.name.wit);
                there.is_some_and(|there| match (&case.payload, &there.payload) {
                    (Some(a), Some(b)) => a.is_exact(b, sender),
                    (None, None) => true,
                    _ => false,
                })
            }),
            (Shape::Enum(names), Shape::Enum(to)) | (Shape::Flags(names), Shape::Flags(to)) => {
                names.iter().all(|name| has(to, &name.wit))
            }
            (Shape::Record(fields), Shape::Record(to)) | (Shape::Params(fields), Shape::Params(to)) => {
                let may_be_dropped = |field: &Field| sender == Sender::Callee && is_option(field);
                let arrives = |field: &Field| match to.iter().find(|other| other.name.wit == field.name.wit) {
                    Some(there) => field.shape.is_exact(&there.shape, sender),
                    None => may_be_dropped(field),
                };
                let comes = |field: &Field| fields.iter().any(|other| other.name.wit == field.name.wit);
                fields.iter().all(arrives) && to.iter().all(|field| comes(field) || is_option(field))
            }
            (a, b) => a.is_same_primitive(b),
        }
    }

    /// Whether both types have the same values.
    fn is_same(&self, other: &Shape) -> bool {
        self.is_exact(other, Sender::Caller) && other.is_exact(self, Sender::Caller)
    }

    fn is_same_primitive(&self, other: &Shape) -> bool {
        matches!(
            (self, other),
            (Shape::Bool, Shape::Bool)
                | (Shape::S8, Shape::S8)
                | (Shape::U8, Shape::U8)
                | (Shape::S16, Shape::S16)
                | (Shape::U16, Shape::U16)
                | (Shape::S32, Shape::S32)
                | (Shape::U32, Shape::U32)
                | (Shape::S64, Shape::S64)
                | (Shape::U64, Shape::U64)
                | (Shape::Float32, Shape::Float32)
                | (Shape::Float64, Shape::Float64)
                | (Shape::Char, Shape::Char)
                | (Shape::String, Shape::String)
        )
    }

    /// Converts `value`, whose type [`is_exact`](Shape::is_exact) to this one, to this type; `None` when it does not
    /// fit.
    pub(super) fn adopt(&self, value: Val) -> Option<Val> {
        let each = |shape: &Shape, values: Vec<Val>| {
            values.into_iter().map(|value| shape.adopt(value)).collect::<Option<Vec<_>>>()
        };
        let boxed = |shape: &Side, value: Option<Box<Val>>| match (shape, value) {
            (Some(shape), Some(value)) => shape.adopt(*value).map(|value| Some(Box::new(value))),
            (None, None) => Some(None),
            _ => None,
        };
        Some(match (self, value) {
            (Shape::List(shape), Val::List(values)) => Val::List(each(shape, values)?),
            (Shape::FixedLengthList(shape, _), Val::FixedLengthList(values)) => {
                Val::FixedLengthList(each(shape, values)?)
            }
            (Shape::Map(_, shape), Val::Map(entries)) => {
                let entry = |(key, value)| Some((key, shape.adopt(value)?));
                Val::Map(entries.into_iter().map(entry).collect::<Option<_>>()?)
            }
            (Shape::Tuple(shapes), Val::Tuple(values)) if shapes.len() == values.len() => {
                let values = shapes.iter().zip(values).map(|(shape, value)| shape.adopt(value));
                Val::Tuple(values.collect::<Option<_>>()?)
            }
            (Shape::Option(shape), Val::Option(value)) => match value {
                Some(value) => Val::Option(Some(Box::new(shape.adopt(*value)?))),
                None => Val::Option(None),
            },
            (Shape::Result(ok, err), Val::Result(value)) => Val::Result(match value {
                Ok(value) => Ok(boxed(ok, value)?),
                Err(value) => Err(boxed(err, value)?),
            }),
            (Shape::Variant(cases), Val::Variant(name, value)) => {
                let case = cases.iter().find(|case| case.name.wit == name)?;
                let value = match (&case.payload, value) {
                    (Some(shape), Some(value)) => Some(Box::new(shape.adopt(*value)?)),
                    (None, None) => None,
                    _ => return None,
                };
                Val::Variant(name, value)
            }
            (Shape::Enum(names), Val::Enum(name)) => Val::Enum(has(names, &name).then_some(name)?),
            // Flags in the order of the type.
            (Shape::Flags(names), Val::Flags(set)) => {
                let named = names.iter().filter(|name| set.contains(&name.wit)).map(|name| name.wit.clone());
                Val::Flags(named.collect())
            }
            (Shape::Record(fields), Val::Record(values)) => {
                let names = fields.iter().map(|field| field.name.wit.clone());
                Val::Record(names.zip(adopt_fields(fields, values)?).collect())
            }
            (Shape::Bool, value @ Val::Bool(_))
            | (Shape::S8, value @ Val::S8(_))
            | (Shape::U8, value @ Val::U8(_))
            | (Shape::S16, value @ Val::S16(_))
            | (Shape::U16, value @ Val::U16(_))
            | (Shape::S32, value @ Val::S32(_))
            | (Shape::U32, value @ Val::U32(_))
            | (Shape::S64, value @ Val::S64(_))
            | (Shape::U64, value @ Val::U64(_))
            | (Shape::Float32, value @ Val::Float32(_))
            | (Shape::Float64, value @ Val::Float64(_))
            | (Shape::Char, value @ Val::Char(_))
            | (Shape::String, value @ Val::String(_)) => value,
            _ => return None,
        })
    }
}

/// Converts named values to the values of `fields`, in their order.
pub(super) fn adopt_fields(fields: &[Field], values: Vec<(String, Val)>) -> Option<Vec<Val>> {
    let mut values: Vec<(String, Option<Val>)> = values.into_iter().map(|(name, value)| (name, Some(value))).collect();
    let take = |field: &Field| match values.iter_mut().find(|(name, _)| *name == field.name.wit) {
        Some((_, value)) => field.shape.adopt(value.take()?),
        None => is_option(field).then_some(Val::Option(None)),
    };
    fields.iter().map(take).collect()
}

fn side_is_exact(from: &Side, to: &Side, sender: Sender) -> bool {
    match (from, to) {
        (Some(a), Some(b)) => a.is_exact(b, sender),
        (None, None) => true,
        _ => false,
    }
}

fn has(names: &[Name], wit: &str) -> bool {
    names.iter().any(|name| name.wit == wit)
}

fn is_option(field: &Field) -> bool {
    matches!(field.shape, Shape::Option(_))
}

#[cfg(test)]
#[path = "exact_tests.rs"]
mod tests;
