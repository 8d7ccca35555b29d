//! Converts amounts between the NestJS system's decimals (`75.25`) and the contracts' cents (7525), digit by digit and
//! without floats.

use serde::de::{Deserialize, Error};
use serde::{Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Cents, serialized as a JSON number with as few decimals as possible: 7525 is `75.25`, 15000 is `150`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal(pub u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}.{:02}", self.0 / 100, self.0 % 100);
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// Reads a JSON number with at most two decimals as cents.
///
/// # Errors
/// When it is not such a number: below zero, with more decimals, with an exponent, or too large.
pub fn decimal<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let raw = <&RawValue>::deserialize(input)?;
    cents(raw.get())
        .ok_or_else(|| D::Error::custom("an amount must be a number of at most two decimals, not below zero"))
}

fn cents(text: &str) -> Option<u64> {
    let (units, decimals) = text.split_once('.').unwrap_or((text, ""));
    let decimals = decimals.trim_end_matches('0');
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if units.is_empty() || !digits(units) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    units.parse::<u64>().ok()?.checked_mul(100)?.checked_add(format!("{decimals:0<2}").parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_by_their_digits() {
        for (text, expected) in [("75.25", 7525), ("150", 15000), ("9.9", 990), ("0.01", 1), ("1.500", 150), ("0", 0)] {
            assert_eq!(cents(text), Some(expected), "{text}");
        }
        for text in ["1.005", "-1", "1e2", "\"9.90\"", "null", "[]", "99999999999999999999", "184467440737095517"] {
            assert_eq!(cents(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_amount_is_read_back() {
        for amount in (0..10_000).chain([1_000_000_000_000]) {
            assert_eq!(cents(&serde_json::to_string(&Decimal(amount)).unwrap()), Some(amount));
        }
        assert_eq!(serde_json::to_string(&[Decimal(7525), Decimal(15000), Decimal(990)]).unwrap(), "[75.25,150,9.9]");
    }
}
