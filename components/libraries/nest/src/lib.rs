//! Shared code of the adapters between a NestJS system and typed contracts: its errors, its amounts of money as
//! decimals, and its numbers, which may also be strings.
//!
//! Data is read strictly where that matters, and leniently where Nest is lenient: unknown fields are ignored, as a
//! `ValidationPipe` with `whitelist` does; a field of another type is refused with status 400 and the field's name.

mod decimal;
mod paging;

pub use decimal::{Decimal, decimal};
pub use paging::{Number, Paging, Window};

use serde::de::Deserialize;
use serde::{Deserializer, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

/// An error in the form in which the NestJS system's services throw it.
pub fn exception(status: u16, message: impl Into<String>) -> String {
    #[derive(Serialize)]
    struct Exception {
        status: u16,
        message: String,
    }
    json(&Exception { status, message: message.into() })
}

/// A value as JSON. Names, texts and numbers always serialize.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads the data of a message.
///
/// # Errors
/// The exception to answer with, which names the wrong field.
pub fn data<'d, T: Deserialize<'d>>(json: &'d str) -> Result<T, String> {
    read(json).map_err(|problem| exception(400, format!("Invalid data: {problem}")))
}

/// The beginnings of serde's messages that contain names of our types.
const TYPE_ERRORS: [&str; 4] = ["invalid type", "invalid value", "invalid length", "data did not match"];

/// Reads JSON. An error names the field in the sender's terms, and never our own types.
///
/// # Errors
/// What is wrong with the data.
pub fn read<'d, T: Deserialize<'d>>(json: &'d str) -> Result<T, String> {
    let mut input = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut input).map_err(|error| {
        let path = error.path().to_string();
        let path = Some(path.as_str()).filter(|path| !matches!(*path, "." | "?"));
        let text = error.inner().to_string();
        // serde_json ends each message with a position in the JSON, and serde names Rust types after "expected".
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        if TYPE_ERRORS.iter().any(|kind| text.starts_with(kind)) {
            format!("{} has the wrong type or value", path.unwrap_or("the data"))
        } else {
            path.map_or_else(|| text.to_owned(), |path| format!("{path}: {text}"))
        }
    })?;
    input.end().map_err(|_| "the data is more than one value".to_owned())?;
    Ok(value)
}

/// The answer to a pattern that the manifest maps to the adapter, but that the adapter does not handle.
pub fn unknown(pattern: &str) -> String {
    eprintln!("this adapter does not know the pattern {pattern:?}; fix: remove it from the manifest");
    exception(404, "There is no handler for this pattern")
}

/// A whole number, or a string with its digits: the NestJS system sends ids in both forms.
///
/// # Errors
/// When it is neither.
pub fn number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Text(String),
    }
    let wrong = || serde::de::Error::custom("a whole number is expected");
    match Number::deserialize(input).map_err(|_| wrong())? {
        Number::Whole(number) => Ok(number),
        Number::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map_err(|_| wrong()),
        Number::Text(_) => Err(wrong()),
    }
}

/// A time in UTC in the contracts' form: `2024-02-27T15:50:27.545Z`.
pub fn timestamp(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Id {
        #[serde(deserialize_with = "number")]
        id: u64,
    }

    #[test]
    fn an_id_is_a_number_or_its_digits() {
        for text in [r#"{"id":48}"#, r#"{"id":"48"}"#, r#"{"id":"048","name":"passed over"}"#] {
            assert_eq!(data::<Id>(text).map(|data| data.id), Ok(48), "{text}");
        }
        for text in
            [r#"{"id":"abc"}"#, r#"{"id":1.5}"#, r#"{"id":-1}"#, r#"{"id":null}"#, "{}", "null", r#"{"id":"1e3"}"#]
        {
            let refused = data::<Id>(text).map(|data| data.id).unwrap_err();
            assert!(refused.starts_with(r#"{"status":400,"message":"Invalid data: "#), "{text}: {refused}");
        }
    }

    #[test]
    fn a_time_is_written_in_the_contracts_form() {
        let moment = OffsetDateTime::from_unix_timestamp(1_709_049_027).unwrap();
        assert_eq!(timestamp(moment + time::Duration::milliseconds(45)), "2024-02-27T15:50:27.045Z");
    }

    #[derive(Debug, serde::Deserialize)]
    struct Order {
        #[serde(rename = "items")]
        _items: Vec<Item>,
        #[serde(default, rename = "status")]
        _status: Option<Status>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[serde(rename = "quantity")]
        _quantity: u32,
        #[serde(deserialize_with = "decimal", rename = "price")]
        _price: u64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Status {
        Paid,
    }

    #[test]
    fn an_error_names_the_field_and_not_our_types() {
        for (json, problem) in [
            ("null", "the data has the wrong type or value"),
            ("[]", "the data has the wrong type or value"),
            ("7", "the data has the wrong type or value"),
            ("{}", "missing field `items`"),
            (r#"{"items":null}"#, "items has the wrong type or value"),
            (r#"{"items":[{"quantity":1.5,"price":1}]}"#, "items[0].quantity has the wrong type or value"),
            (r#"{"items":[{"quantity":-1,"price":1}]}"#, "items[0].quantity has the wrong type or value"),
            (r#"{"items":[{"price":1}]}"#, "items[0]: missing field `quantity`"),
            (
                r#"{"items":[{"quantity":1,"price":1.005}]}"#,
                "items[0].price: an amount must be a number of at most two decimals, not below zero",
            ),
            (r#"{"items":[],"status":"ODD"}"#, "status: unknown variant `ODD`, expected `PAID`"),
        ] {
            let found = read::<Order>(json).unwrap_err();
            assert!(!["struct", "u32", "u64", "enum", "sequence"].iter().any(|word| found.contains(word)), "{found}");
            assert_eq!(found, problem, "{json}");
        }
    }
}
