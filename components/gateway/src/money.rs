//! Amounts of money between the API's decimals (`75.25`) and the contracts' cents (7525), exactly: no float on the way.

use crate::number::{self, Scaled};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The largest amount, in cents: ten billion units (10^10). Sums of many amounts still fit into 64 bits.
const MAX_CENTS: u64 = 1_000_000_000_000;
/// The same in units.
pub(crate) const MAX_UNITS: u64 = MAX_CENTS / 100;

/// The decimals of an amount.
const DECIMALS: i64 = 2;

/// Why a text is no amount.
#[derive(Debug, PartialEq)]
pub(crate) enum AmountError {
    /// It is no number.
    NotANumber,
    /// It is below zero.
    Negative,
    /// It has more than two decimals, or is more than the greatest amount.
    Unrepresentable,
    /// It is below zero and has more than two decimals.
    NegativeAndUnrepresentable,
}

/// The cents of a JSON number, from the digits that the client wrote.
pub(crate) fn from_number(text: &str) -> Result<u64, AmountError> {
    cents(number::from_json(text, DECIMALS))
}

/// The cents of a plain decimal in a string, blanks around it allowed: "9.90", not "", "0x10" or "1e3".
pub(crate) fn from_text(text: &str) -> Result<u64, AmountError> {
    let text = text.trim();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (units, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    match unsigned {
        // A number in JavaScript, and so in the NestJS system: it gets the message for an amount that is out of range.
        "Infinity" if unsigned.len() == text.len() => Err(AmountError::Unrepresentable),
        _ if digits(units) && digits(decimals) => cents(number::from_plain(text, DECIMALS)),
        _ => Err(AmountError::NotANumber),
    }
}

fn cents(amount: Scaled) -> Result<u64, AmountError> {
    match (amount.magnitude.ok().filter(|cents| *cents <= MAX_CENTS), amount.negative) {
        (Some(cents), false) => Ok(cents),
        (Some(_), true) => Err(AmountError::Negative),
        (None, false) => Err(AmountError::Unrepresentable),
        (None, true) => Err(AmountError::NegativeAndUnrepresentable),
    }
}

/// Cents that are written as a JSON number with as few decimals as there are: 7525 is `75.25`, 15000 is `150`.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(
    test,
    schema(
        as = Amount,
        value_type = f64,
        description = "An amount in the main unit of the store's currency, with at most two decimals.",
        example = json!(75.25)
    )
)]
pub(crate) struct Decimal(pub u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (units, cents) = (self.0 / 100, self.0 % 100);
        let text = match cents {
            0 => return serializer.serialize_u64(units),
            cents if cents % 10 == 0 => format!("{units}.{}", cents / 10),
            cents => format!("{units}.{cents:02}"),
        };
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AmountError::*;

    #[test]
    fn numbers_are_exact_in_every_notation() {
        let exact = [
            ("75.25", 7525),
            ("150", 15000),
            ("150.0", 15000),
            ("0", 0),
            ("-0", 0),
            ("-0.00", 0),
            ("0.1", 10),
            ("0.01", 1),
            ("1.230", 123),
            ("1e2", 10000),
            ("1.5E+1", 1500),
            ("1234e-2", 1234),
            ("10e-3", 1),
            ("0e99999999999999999999", 0),
            ("10000000000", 1_000_000_000_000),
            ("1e10", 1_000_000_000_000),
            ("0.1e1", 100),
        ];
        for (text, cents) in exact {
            assert_eq!(from_number(text), Ok(cents), "{text}");
        }
    }

    #[test]
    fn an_amount_that_is_not_whole_cents_or_out_of_range_is_refused() {
        for text in [
            "1.234",
            "1e-7",
            "1.5e-7",
            "1e21",
            "10000000000.01",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "1.0000000000000000000001",
            "99999999999999999999999999",
        ] {
            assert_eq!(from_number(text), Err(Unrepresentable), "{text}");
        }
        assert_eq!(from_number("-1"), Err(Negative));
        assert_eq!(from_number("-1.234"), Err(NegativeAndUnrepresentable));
    }

    #[test]
    fn strings_are_plain_decimals_alone() {
        for (text, cents) in [("12.50", 1250), (" 7 ", 700), ("9.90", 990), ("007", 700), ("-0", 0), ("1.230", 123)] {
            assert_eq!(from_text(text), Ok(cents), "{text}");
        }
        for text in ["", "  ", "0x10", "1e3", "abc", "1,5", ".5", "5.", "+5", "- 5", "1_0", "NaN", "-Infinity", "١"] {
            assert_eq!(from_text(text), Err(NotANumber), "{text}");
        }
        assert_eq!(from_text("1.234"), Err(Unrepresentable));
        assert_eq!(from_text("Infinity"), Err(Unrepresentable));
        assert_eq!(from_text("-1"), Err(Negative));
    }

    #[test]
    fn amounts_are_written_without_trailing_zeros() {
        let written = [
            (7525, "75.25"),
            (15000, "150"),
            (10, "0.1"),
            (1, "0.01"),
            (105, "1.05"),
            (0, "0"),
            (MAX_CENTS, "10000000000"),
        ];
        for (cents, text) in written {
            assert_eq!(serde_json::to_string(&Decimal(cents)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for cents in (0..10_000).chain([MAX_CENTS - 1, MAX_CENTS]) {
            assert_eq!(from_number(&serde_json::to_string(&Decimal(cents)).unwrap()), Ok(cents));
        }
    }
}
