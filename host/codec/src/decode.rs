//! Reading: a shape directs serde's deserializer, without a JSON tree between the text and the value.
//!
//! The shape and not the text decides how deep the reader recurses: text that nests deeper than its type is refused at
//! that place. Memory is counted before it is used: two bytes of text can become a `Val` of forty bytes, and an object
//! without its optional fields a record of kilobytes.

use super::shape::{Case, Field, Shape, listed};
use super::trail::{Step, Trail};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use wasmtime::component::Val;

/// Reads one value of a shape.
#[derive(Clone, Copy)]
pub(super) struct Seed<'a> {
    pub shape: &'a Shape,
    pub trail: &'a Trail<'a>,
    /// The step from the enclosing value to this one.
    pub step: Step<'a>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Val, D::Error> {
        let Seed { shape, trail, step } = self;
        let read = match shape {
            Shape::Option(inner) => {
                let reader = Reader { shape: inner, optional: true, trail };
                input.deserialize_any(reader).and_then(|value| match value {
                    Some(value) => Ok(Val::Option(Some(reader.boxed(value)?))),
                    None => Ok(Val::Option(None)),
                })
            }
            _ => {
                let reader = Reader { shape, optional: false, trail };
                input.deserialize_any(reader).and_then(|value| value.ok_or_else(|| reader.wrong("null")))
            }
        };
        read.inspect_err(|_| trail.passed(step))
    }
}

/// Reads the JSON form of a shape; `None` stands for null.
#[derive(Clone, Copy)]
struct Reader<'a> {
    shape: &'a Shape,
    /// Whether null is expected too; for error messages.
    optional: bool,
    trail: &'a Trail<'a>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Option<Val>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape.describe())
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Val>, E> {
        // The seed knows whether a null is allowed here.
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Val>, E> {
        match self.shape {
            Shape::Bool => Ok(Some(Val::Bool(value))),
            _ => Err(self.wrong("boolean")),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Val>, E> {
        match self.shape {
            // The nearest float, as for any number with more digits than a float can hold.
            Shape::Float32 | Shape::Float64 => self.visit_f64(value as f64),
            _ => self.integer(value.into()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Val>, E> {
        match self.shape {
            Shape::Float32 | Shape::Float64 => self.visit_f64(value as f64),
            _ => self.integer(value.into()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Val>, E> {
        match self.shape {
            Shape::Float64 => Ok(Some(Val::Float64(value))),
            Shape::Float32 => match value as f32 {
                value if value.is_finite() => Ok(Some(Val::Float32(value))),
                _ => Err(self.wrong("a number that is too large")),
            },
            shape if is_integer(shape) => Err(self.wrong("a number that is not whole or too large")),
            _ => Err(self.wrong("number")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Val>, E> {
        let mut chars = text.chars();
        let value = match self.shape {
            Shape::String => Some(Val::String(self.text(text)?)),
            Shape::Char => match (chars.next(), chars.next()) {
                (Some(only), None) => Some(Val::Char(only)),
                _ => return Err(self.wrong("a string of another length")),
            },
            Shape::S64 => text.parse().ok().map(Val::S64),
            Shape::U64 => text.parse().ok().map(Val::U64),
            Shape::Enum(names) => match names.iter().find(|name| name.json == text) {
                Some(name) => Some(Val::Enum(self.text(&name.wit)?)),
                None => return Err(self.unknown("name", text, names.iter().map(|name| name.json.as_str()))),
            },
            Shape::Variant(cases) => match cases.iter().find(|case| case.name.json == text) {
                Some(Case { name, payload: None }) => Some(Val::Variant(self.text(&name.wit)?, None)),
                Some(_) => return Err(self.fail(format!(r#"case {text} has a payload: write {{"{text}": payload}}"#))),
                None => return Err(self.unknown("case", text, cases.iter().map(|case| case.name.json.as_str()))),
            },
            _ => None,
        };
        value.map(Some).ok_or_else(|| self.wrong("string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Val>, A::Error> {
        Ok(Some(match self.shape {
            Shape::List(item) => {
                let mut items = Vec::new();
                while let Some(value) = seq.next_element_seed(self.seed(item, Step::Index(items.len())))? {
                    self.push(&mut items, value)?;
                }
                Val::List(items)
            }
            Shape::FixedLengthList(item, length) => {
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                Val::FixedLengthList(self.exactly(seq, length, std::iter::repeat_n(&**item, length))?)
            }
            Shape::Map(key, value) => {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element_seed(Entry { key, value, index: entries.len(), map: self })? {
                    self.push(&mut entries, entry)?;
                }
                Val::Map(entries)
            }
            Shape::Tuple(shapes) => Val::Tuple(self.exactly(seq, shapes.len(), shapes.iter())?),
            Shape::Params(fields) => {
                Val::Tuple(self.exactly(seq, fields.len(), fields.iter().map(|field| &field.shape))?)
            }
            Shape::Flags(names) => {
                let mut set = vec![false; names.len()];
                while let Some(index) = seq.next_element_seed(Key {
                    what: "flag",
                    names: names.iter().map(|name| name.json.as_str()),
                    reader: self,
                })? {
                    match set.get_mut(index) {
                        Some(flag) if !*flag => *flag = true,
                        _ => return Err(self.fail("a flag is named twice")),
                    }
                }
                let mut named = Vec::new();
                for (name, _) in names.iter().zip(set).filter(|(_, set)| *set) {
                    self.push(&mut named, self.text(&name.wit)?)?;
                }
                Val::Flags(named)
            }
            _ => return Err(self.wrong("array")),
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Val>, A::Error> {
        Ok(Some(match self.shape {
            Shape::Record(fields) => {
                let names: usize = fields.iter().map(|field| piece(field.name.wit.len())).sum();
                self.spend(piece(fields.len() * size_of::<(String, Val)>()) + names)?;
                let values = self.object(map, "field", fields)?;
                Val::Record(fields.iter().map(|field| field.name.wit.clone()).zip(values).collect())
            }
            Shape::Params(fields) => {
                self.spend(piece(fields.len() * size_of::<Val>()))?;
                Val::Tuple(self.object(map, "parameter", fields)?)
            }
            Shape::Variant(cases) => {
                let sides = cases.iter().map(|case| (case.name.json.as_str(), case.payload.as_ref()));
                let (case, payload) = self.tagged(map, "case", sides)?;
                let case = cases.get(case).ok_or_else(|| self.wrong("object"))?;
                Val::Variant(self.text(&case.name.wit)?, payload)
            }
            Shape::Result(ok, err) => {
                let sides = [("ok", ok.as_deref()), ("err", err.as_deref())];
                match self.tagged(map, "key", sides.into_iter())? {
                    (0, value) => Val::Result(Ok(value)),
                    (_, value) => Val::Result(Err(value)),
                }
            }
            // An option in an option; `self.shape` is the inner one.
            Shape::Option(_) => {
                let (_, value) = self.tagged(map, "key", [("some", Some(self.shape))].into_iter())?;
                return Ok(value.map(|value| *value));
            }
            _ => return Err(self.wrong("object")),
        }))
    }
}

impl<'a> Reader<'a> {
    fn seed(&self, shape: &'a Shape, step: Step<'a>) -> Seed<'a> {
        Seed { shape, trail: self.trail, step }
    }

    fn integer<E: Error>(&self, value: i128) -> Result<Option<Val>, E> {
        let fits = match self.shape {
            Shape::S8 => i8::try_from(value).ok().map(Val::S8),
            Shape::U8 => u8::try_from(value).ok().map(Val::U8),
            Shape::S16 => i16::try_from(value).ok().map(Val::S16),
            Shape::U16 => u16::try_from(value).ok().map(Val::U16),
            Shape::S32 => i32::try_from(value).ok().map(Val::S32),
            Shape::U32 => u32::try_from(value).ok().map(Val::U32),
            Shape::S64 => i64::try_from(value).ok().map(Val::S64),
            Shape::U64 => u64::try_from(value).ok().map(Val::U64),
            _ => return Err(self.wrong("number")),
        };
        fits.map(Some).ok_or_else(|| self.wrong("a number out of its range"))
    }

    /// Reads an array of exactly these shapes.
    fn exactly<'de, A: SeqAccess<'de>>(
        &self,
        mut seq: A,
        length: usize,
        shapes: impl Iterator<Item = &'a Shape>,
    ) -> Result<Vec<Val>, A::Error> {
        let mut values = Vec::new();
        for shape in shapes {
            match seq.next_element_seed(self.seed(shape, Step::Index(values.len())))? {
                Some(value) => self.push(&mut values, value)?,
                None => return Err(self.wrong(&format!("an array of {}", values.len()))),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(values),
            Some(_) => Err(self.wrong(&format!("an array of more than {length}"))),
        }
    }

    /// Reads an object with these fields in any order; returns their values in the order of the type.
    fn object<'de, A: MapAccess<'de>>(
        &self,
        mut map: A,
        what: &'static str,
        fields: &'a [Field],
    ) -> Result<Vec<Val>, A::Error> {
        let mut values: Vec<Option<Val>> = fields.iter().map(|_| None).collect();
        let names = fields.iter().map(|field| field.name.json.as_str());
        while let Some(index) = map.next_key_seed(Key { what, names: names.clone(), reader: *self })? {
            let (Some(field), Some(slot)) = (fields.get(index), values.get_mut(index)) else {
                return Err(self.wrong("object"));
            };
            let name = &field.name.json;
            if slot.is_some() {
                return Err(self.fail(format!("{what} `{name}` is given twice")));
            }
            *slot = Some(map.next_value_seed(self.seed(&field.shape, Step::Key(name)))?);
        }
        let missing = |(field, value): (&Field, Option<Val>)| match (value, &field.shape) {
            (Some(value), _) => Ok(value),
            (None, Shape::Option(_)) => Ok(Val::Option(None)),
            (None, shape) => {
                Err(self.fail(format!("{what} `{}` is missing; it is a {}", field.name.json, shape.describe())))
            }
        };
        fields.iter().zip(values).map(missing).collect()
    }

    /// Reads an object with one key out of `sides`. Returns the position of the side, and the value if the side has a
    /// type.
    fn tagged<'de, A: MapAccess<'de>>(
        &self,
        mut map: A,
        what: &'static str,
        sides: impl ExactSizeIterator<Item = (&'a str, Option<&'a Shape>)> + Clone,
    ) -> Result<(usize, Option<Box<Val>>), A::Error> {
        let names = sides.clone().map(|(name, _)| name);
        let Some(index) = map.next_key_seed(Key { what, names, reader: *self })? else {
            return Err(self.wrong("an empty object"));
        };
        let value = match sides.clone().nth(index) {
            Some((name, Some(shape))) => Some(self.boxed(map.next_value_seed(self.seed(shape, Step::Key(name)))?)?),
            Some((name, None)) if map.next_value::<Option<IgnoredAny>>()?.is_some() => {
                return Err(self.fail(format!("{what} `{name}` has no payload: its value must be null")));
            }
            _ => None,
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok((index, value)),
            Some(_) => Err(self.wrong("an object with more than one key")),
        }
    }

    /// Counts memory before it is used.
    fn spend<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.trail.spend(bytes) {
            true => Ok(()),
            false => Err(self.fail("there is not enough memory for the value from here on")),
        }
    }

    fn text<E: Error>(&self, text: &str) -> Result<String, E> {
        self.spend(piece(text.len()))?;
        Ok(text.to_owned())
    }

    fn boxed<E: Error>(&self, value: Val) -> Result<Box<Val>, E> {
        self.spend(piece(size_of::<Val>()))?;
        Ok(Box::new(value))
    }

    /// Pushes an item; counts the memory when the vector grows.
    fn push<T, E: Error>(&self, items: &mut Vec<T>, item: T) -> Result<(), E> {
        if items.len() == items.capacity() {
            let more = items.len().max(4);
            self.spend(piece(more * size_of::<T>()))?;
            items.reserve_exact(more);
        }
        items.push(item);
        Ok(())
    }

    fn fail<E: Error>(&self, message: impl Into<String>) -> E {
        E::custom(self.trail.fail(message))
    }

    fn wrong<E: Error>(&self, found: &str) -> E {
        let null = match (self.optional, self.shape) {
            (true, Shape::Option(_)) | (false, _) => "",
            (true, _) => " or null",
        };
        self.fail(format!("expected {}{null}, found {found}", self.shape.describe()))
    }

    fn unknown<'n, E: Error>(&self, what: &str, text: &str, names: impl ExactSizeIterator<Item = &'n str>) -> E {
        // Enough to recognise it. The text is untrusted and may be long.
        let shown: String = text.chars().take(64).collect();
        self.fail(format!("unknown {what} `{shown}`; known are {}", listed(names)))
    }
}

/// Reads a name, and returns its position among the known names.
struct Key<'a, N> {
    what: &'static str,
    names: N,
    reader: Reader<'a>,
}

impl<'de, 'n, N: ExactSizeIterator<Item = &'n str> + Clone> DeserializeSeed<'de> for Key<'_, N> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<usize, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de, 'n, N: ExactSizeIterator<Item = &'n str> + Clone> Visitor<'de> for Key<'_, N> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a {}", self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        match self.names.clone().position(|name| name == text) {
            Some(index) => Ok(index),
            None => Err(self.reader.unknown(self.what, text, self.names)),
        }
    }
}

/// Reads an entry of a map: `[key, value]`.
struct Entry<'a> {
    key: &'a Shape,
    value: &'a Shape,
    index: usize,
    map: Reader<'a>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = (Val, Val);

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(Val, Val), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = (Val, Val);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of key and value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(Val, Val), A::Error> {
        let Entry { key, value, index, map } = self;
        let key = seq.next_element_seed(map.seed(key, Step::Entry(index, 0)))?;
        let value = seq.next_element_seed(map.seed(value, Step::Entry(index, 1)))?;
        match (key, value, seq.next_element::<IgnoredAny>()?) {
            (Some(key), Some(value), None) => Ok((key, value)),
            _ => Err(map.wrong("an entry of another length")),
        }
    }
}

/// The memory for one allocation of this many bytes: allocators round up, by at most an eighth for large allocations.
fn piece(bytes: usize) -> usize {
    bytes.next_multiple_of(16) + bytes / 8
}

fn is_integer(shape: &Shape) -> bool {
    use Shape::*;
    matches!(shape, S8 | U8 | S16 | U16 | S32 | U32 | S64 | U64)
}
