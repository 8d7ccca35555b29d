//! What the adapters between a NestJS system and typed contracts share: its errors, its amounts of money as decimals,
//! and its numbers, which come as strings too.
//!
//! Data is read strictly where it matters and leniently where Nest is: a field that nobody asks for is passed over, as a
//! `ValidationPipe` with `whitelist` does; a field of another type is refused with status 400 and the field's name.

mod decimal;

pub use decimal::{Decimal, decimal};

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
    serde_json::from_str(json).map_err(|error| exception(400, format!("Invalid data: {error}")))
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

/// Which page of a list, from 1, and how many entries it has.
#[derive(Debug, serde::Deserialize)]
pub struct Paging {
    /// The page.
    #[serde(default = "first")]
    pub page: u32,
    /// The most entries of a page.
    #[serde(default = "ten")]
    pub limit: u32,
}

fn first() -> u32 {
    1
}

fn ten() -> u32 {
    10
}

impl Paging {
    /// The number of the last page, where there are `total` entries.
    pub fn last_page(&self, total: u64) -> u64 {
        total.div_ceil(u64::from(self.limit).max(1))
    }
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

    #[test]
    fn a_list_has_ten_entries_a_page_unless_somebody_says_otherwise() {
        let paging: Paging = data("{}").unwrap();
        assert_eq!((paging.page, paging.limit, paging.last_page(47)), (1, 10, 5));
        let paging: Paging = data(r#"{"page":2,"limit":0}"#).unwrap();
        assert_eq!((paging.page, paging.last_page(3)), (2, 3));
    }
}
