//! The fields of a JSON object, read one level at a time.
//!
//! A value stays text until a rule asks for it: a number keeps the digits that the client wrote (money never becomes a
//! float), and what no rule asks for costs nothing, however deep it nests. Order and repetition are kept, as the
//! messages name unknown fields in the client's order.

use super::error::Error;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// A value of JSON, decoded as far as rules need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool,
    /// A number, as it was written.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// An array or an object, as its text: [`Fields::parse`] reads it when a rule asks.
    Nested(&'a str),
}

/// The fields of an object. An array counts as an object whose keys are its positions, and no body as an empty object.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Fields<'a> {
    /// Parses the text of an object or an array; an empty text has no fields.
    ///
    /// # Errors
    /// 400 when the text is anything else.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        let malformed = |e: serde_json::Error| Error::bad_request(format!("Malformed JSON: {e}"));
        if text.is_empty() {
            return Ok(Fields::default());
        }
        let raw: Raw = serde_json::from_str(text).map_err(malformed)?;
        let decode = |(key, raw): (Cow<'a, str>, &'a RawValue)| Ok((key, Value::parse(raw.get()).map_err(malformed)?));
        raw.0.into_iter().map(decode).collect::<Result<_, Error>>().map(Fields)
    }

    /// The value of a field. For a repeated field it is the last value, as in `JSON.parse`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All values in their order: an array's elements.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &Value<'a>> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The names of fields that are not in `known`, once each. `__proto__` is ignored, as in the NestJS system.
    pub(crate) fn unknown(&self, known: &[&str]) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        self.0
            .iter()
            .map(|(key, _)| key.as_ref())
            .filter(|key| !known.contains(key) && *key != "__proto__")
            .filter(move |key| seen.insert(key.to_owned()))
    }
}

impl<'a> Value<'a> {
    /// Decodes one value that is valid JSON. It fails only for a string with a lone surrogate.
    fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        Ok(match text.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<&str>(text) {
                Ok(plain) => Value::Text(Cow::Borrowed(plain)),
                Err(_) => Value::Text(Cow::Owned(serde_json::from_str(text)?)),
            },
            Some(b'[' | b'{') => Value::Nested(text),
            Some(b't' | b'f') => Value::Bool,
            Some(b'n') => Value::Null,
            _ => Value::Number(text),
        })
    }
}

/// One level of an object or an array.
struct Raw<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneLevel;

        impl<'de> Visitor<'de> for OneLevel {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<Key, &RawValue>()? {
                    fields.push((entry.0.0, entry.1));
                }
                Ok(Raw(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(item) = items.next_element()? {
                    fields.push((Cow::Owned(fields.len().to_string()), item));
                }
                Ok(Raw(fields))
            }
        }

        deserializer.deserialize_any(OneLevel)
    }
}

/// A key, borrowed from the text where it has no escape.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        String::from_utf8(Fields::parse(text).unwrap_err().into_reply().body).unwrap()
    }

    #[test]
    fn values_keep_their_kind_and_numbers_their_digits() {
        let text = r#" {"a":null,"b":true,"c":1.10,"d":"x\n","e":[1],"f":{},"g":"plain","\u0068":-0} "#;
        let fields = Fields::parse(text).unwrap();
        assert_eq!(fields.get("a"), Some(&Value::Null));
        assert_eq!(fields.get("b"), Some(&Value::Bool));
        assert_eq!(fields.get("c"), Some(&Value::Number("1.10")));
        assert_eq!(fields.get("d"), Some(&Value::Text("x\n".into())));
        assert_eq!(fields.get("e"), Some(&Value::Nested("[1]")));
        assert_eq!(fields.get("f"), Some(&Value::Nested("{}")));
        assert!(matches!(fields.get("g"), Some(Value::Text(Cow::Borrowed("plain")))));
        assert_eq!(fields.get("h"), Some(&Value::Number("-0")));
        assert_eq!(fields.get("i"), None);
    }

    #[test]
    fn of_a_repeated_field_the_last_counts() {
        let fields = Fields::parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(fields.get("a"), Some(&Value::Number("2")));
    }

    #[test]
    fn an_array_has_its_positions_as_fields() {
        let fields = Fields::parse(r#"[{"name":"a"},5]"#).unwrap();
        assert_eq!(fields.unknown(&["name"]).collect::<Vec<_>>(), ["0", "1"]);
    }

    #[test]
    fn unknown_fields_come_once_each_in_the_clients_order() {
        let fields = Fields::parse(r#"{"z":1,"name":2,"a":3,"z":4,"__proto__":{}}"#).unwrap();
        assert_eq!(fields.unknown(&["name"]).collect::<Vec<_>>(), ["z", "a"]);
    }

    #[test]
    fn malformed_json_is_400_in_the_recorded_shape() {
        let malformed = [
            "{",
            r#"{"name":"a","#,
            "{'a':1}",
            "5",
            "null",
            "\"x\"",
            " ",
            "{} {}",
            r#"{"a":"\ud800b"}"#,
            r#"{"a":01}"#,
        ];
        for text in malformed {
            let body = refused(text);
            assert!(body.starts_with(r#"{"message":"Malformed JSON: "#), "{text} gave {body}");
            assert!(body.ends_with(r#"","error":"Bad Request","statusCode":400}"#), "{text} gave {body}");
        }
        assert!(Fields::parse("").unwrap().0.is_empty());
    }

    #[test]
    fn a_hundred_kib_of_brackets_neither_overflows_nor_panics() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(51_000), "]".repeat(51_000));
        assert!(matches!(Fields::parse(&deep).unwrap().get("a"), Some(Value::Nested(_))));
    }
}
