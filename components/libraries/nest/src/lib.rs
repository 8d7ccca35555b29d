//! What the adapters between a NestJS system and typed contracts share: its errors, its amounts of money as decimals,
//! and its numbers, which come as strings too.
//!
//! Data is read strictly where it matters and leniently where Nest is: a field that nobody asks for is passed over, as a
//! `ValidationPipe` with `whitelist` does; a field of another type is refused with status 400 and the field's name.

mod decimal;
mod paging;

pub use decimal::{Decimal, decimal};
pub use paging::{Number, Paging, Window};

use serde::de::Deserialize;
use serde::{Deserializer, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

/// An error as a service of the system throws it.
pub fn exception(status: u16, message: impl Into<String>) -> String {
    #[derive(Serialize)]
    struct Exception {
        status: u16,
        message: String,
    }
    json(&Exception { status, message: message.into() })
}

/// A value as JSON. Names, texts and numbers cannot fail to become it.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads the data of a message.
///
/// # Errors
/// The exception to answer with, which says what does not fit.
pub fn data<'d, T: Deserialize<'d>>(json: &'d str) -> Result<T, String> {
    read(json).map_err(|problem| exception(400, format!("Invalid data: {problem}")))
}

/// How the texts of serde begin that go on with types of ours.
const WRONG: [&str; 4] = ["invalid type", "invalid value", "invalid length", "data did not match"];

/// Reads JSON; what does not fit is said in the sender's words: which field, and never by the names of our own types.
///
/// # Errors
/// What does not fit.
pub fn read<'d, T: Deserialize<'d>>(json: &'d str) -> Result<T, String> {
    let mut input = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut input).map_err(|error| {
        let path = error.path().to_string();
        let path = Some(path.as_str()).filter(|path| !matches!(*path, "." | "?"));
        let text = error.inner().to_string();
        // serde_json ends each text with a place in it, and serde names types of Rust after "expected".
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        if WRONG.iter().any(|kind| text.starts_with(kind)) {
            format!("{} has the wrong type or value", path.unwrap_or("the data"))
        } else {
            path.map_or_else(|| text.to_owned(), |path| format!("{path}: {text}"))
        }
    })?;
    input.end().map_err(|_| "the data is more than one value".to_owned())?;
    Ok(value)
}

/// A pattern that the adapter does not know: the manifest names one too many.
pub fn unknown(pattern: &str) -> String {
    eprintln!("the pattern {pattern:?} is not one of this adapter's");
    exception(404, "There is no handler for this pattern")
}

/// A whole number, or the digits of one in a string: an id comes as either.
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

/// A moment in UTC as the contracts write it: `2024-02-27T15:50:27.545Z`.
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
    fn a_moment_is_written_as_the_contracts_have_it() {
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
    fn what_does_not_fit_is_said_with_the_field_and_without_our_types() {
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
