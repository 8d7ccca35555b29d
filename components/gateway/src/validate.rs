//! Validation of bodies and queries, with class-validator's messages in the recorded order.
//!
//! The validation crates (validator, garde) check structs whose fields have the right types already. Here most messages
//! are about types, a field can have several messages, and all fields are reported together. So the rules are plain
//! functions from a field to a typed value or to messages. [`Input`] collects the messages: unknown fields first, then
//! each field in the order of the checks.

use crate::http::error::Error;
use crate::http::json::{Fields, Value};
use crate::money::{self, AmountError};
use crate::number::{self, Misfit};

/// The result of a rule for a field: a typed value, or the messages in order.
pub(crate) type Checked<T> = Result<T, Vec<String>>;

/// The fields of one request, while they are being checked.
pub(crate) struct Input<'f> {
    fields: &'f Fields<'f>,
    messages: Vec<String>,
    hints: Vec<String>,
}

impl<'f> Input<'f> {
    /// Starts a check; fields that are not `known` are reported.
    pub(crate) fn new(fields: &'f Fields<'f>, known: &[&str]) -> Self {
        let messages = fields.unknown(known).map(|name| format!("property {name} should not exist")).collect();
        Input { fields, messages, hints: Vec::new() }
    }

    /// A required field. The rule gets an absent field too, and returns the message for it.
    pub(crate) fn required<T>(&mut self, name: &str, rule: impl Fn(&str, Option<&Value>) -> Checked<T>) -> Option<T> {
        rule(name, self.fields.get(name)).map_err(|messages| self.messages.extend(messages)).ok()
    }

    /// Adds a hint about a field that a rule has refused, if `explain` knows more than the recorded message says.
    pub(crate) fn explain<T>(
        &mut self,
        name: &str,
        checked: Option<T>,
        explain: fn(&Value) -> Option<String>,
    ) -> Option<T> {
        let hint = if checked.is_none() { self.fields.get(name).and_then(explain) } else { None };
        self.hints.extend(hint.map(|hint| format!("{name} {hint}")));
        checked
    }

    /// An optional field. `null` is not absent: the rule gets it.
    pub(crate) fn optional<T>(&mut self, name: &str, rule: impl Fn(&str, Option<&Value>) -> Checked<T>) -> Option<T> {
        self.fields.get(name).is_some().then(|| self.required(name, rule)).flatten()
    }

    /// Ends the check of an object within the request: returns `value`, or all messages.
    pub(crate) fn check<T>(self, value: Option<T>) -> Checked<T> {
        value.filter(|_| self.messages.is_empty()).ok_or(self.messages)
    }

    /// Ends the check: returns `value`, or 400 with all messages.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        let hints = self.hints.join("; ");
        self.check(value).map_err(Error::invalid).map_err(|error| match hints.is_empty() {
            true => error,
            false => error.hint(hints),
        })
    }
}

/// A text with at least one character.
pub(crate) fn non_empty_string(name: &str, value: Option<&Value>) -> Checked<String> {
    let empty = || format!("{name} should not be empty");
    let no_string = || format!("{name} must be a string");
    match value {
        Some(Value::Text(text)) if text.is_empty() => Err(vec![empty()]),
        Some(Value::Text(text)) => Ok(text.clone().into_owned()),
        None | Some(Value::Null) => Err(vec![empty(), no_string()]),
        Some(_) => Err(vec![no_string()]),
    }
}

/// A text, which may be empty.
pub(crate) fn string(name: &str, value: Option<&Value>) -> Checked<String> {
    match value {
        Some(Value::Text(text)) => Ok(text.clone().into_owned()),
        _ => Err(vec![format!("{name} must be a string")]),
    }
}

/// A text that `accept` accepts; otherwise the message is the field's name and `problem`.
pub(crate) fn string_that(
    accept: fn(&str) -> bool,
    problem: &'static str,
) -> impl Fn(&str, Option<&Value>) -> Checked<String> {
    move |name, value| match value {
        Some(Value::Text(text)) if accept(text) => Ok(text.clone().into_owned()),
        Some(Value::Text(_)) => Err(vec![format!("{name} {problem}")]),
        _ => Err(vec![format!("{name} {problem}"), format!("{name} must be a string")]),
    }
}

/// An amount of money, as a number or as a plain decimal in a string. Returns cents.
pub(crate) fn amount(name: &str, value: Option<&Value>) -> Checked<u64> {
    let negative = || format!("{name} must not be less than 0");
    let unfit = || format!("{name} must be a number conforming to the specified constraints");
    let cents = match value {
        Some(Value::Number(number)) => money::from_number(number),
        Some(Value::Text(text)) => money::from_text(text),
        _ => Err(AmountError::NotANumber),
    };
    cents.map_err(|error| match error {
        AmountError::NotANumber | AmountError::NegativeAndUnrepresentable => vec![negative(), unfit()],
        AmountError::Negative => vec![negative()],
        AmountError::Unrepresentable => vec![unfit()],
    })
}

/// A hint for a value that is not a number, or that has too many decimals or is too large for an amount.
pub(crate) fn explain_amount(value: &Value) -> Option<String> {
    let error = match value {
        Value::Number(number) => money::from_number(number).err(),
        Value::Text(text) => money::from_text(text).err(),
        Value::Bool | Value::Null | Value::Nested(_) => Some(AmountError::NotANumber),
    };
    match error {
        Some(AmountError::NotANumber) => {
            Some("must be a number such as 9.90, without a currency or a comma".to_owned())
        }
        Some(AmountError::Unrepresentable | AmountError::NegativeAndUnrepresentable) => {
            Some(format!("must have at most two decimals and be at most {}", money::MAX_UNITS))
        }
        _ => None,
    }
}

/// An integer from 1 to `max`, as a JSON number.
pub(crate) fn json_integer(max: u64) -> impl Fn(&str, Option<&Value>) -> Checked<u64> {
    move |name, value| {
        let positive = || format!("{name} must be a positive number");
        let Some(Value::Number(text)) = value else {
            let unfit = format!("{name} must be a number conforming to the specified constraints");
            return Err(vec![positive(), unfit]);
        };
        let number = number::from_json(text, 0);
        Err(vec![match number.magnitude {
            _ if number.negative => positive(),
            Ok(0) => positive(),
            Ok(size) if size <= max => return Ok(size),
            Ok(_) | Err(Misfit::TooLarge) => format!("{name} must not be greater than {max}"),
            Err(Misfit::Fraction) => format!("{name} must be an integer number"),
        }])
    }
}

/// An integer from 1 to `max`, from a query string.
pub(crate) fn query_integer(max: u32) -> impl Fn(&str, Option<&Value>) -> Checked<u32> {
    move |name, value| {
        let Some(Value::Text(text)) = value else { return Err(vec![format!("{name} must be a positive number")]) };
        let text = text.trim();
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
        if !digits(units) || !digits(decimals) || is_zero(units) && is_zero(decimals) {
            return Err(vec![format!("{name} must be a positive number")]);
        }
        if !is_zero(decimals) {
            return Err(vec![format!("{name} must be an integer number")]);
        }
        units
            .parse()
            .ok()
            .filter(|number| *number <= max)
            .ok_or_else(|| vec![format!("{name} must not be greater than {max}")])
    }
}

/// `true` or `false`.
pub(crate) fn boolean(name: &str, value: Option<&Value>) -> Checked<bool> {
    match value {
        Some(Value::Text(text)) if text == "true" => Ok(true),
        Some(Value::Text(text)) if text == "false" => Ok(false),
        _ => Err(vec![format!("{name} must be true or false")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages<T: std::fmt::Debug>(checked: Checked<T>) -> Vec<String> {
        checked.unwrap_err()
    }

    const EMPTY: &str = "a should not be empty";
    const NO_STRING: &str = "a must be a string";
    const NEGATIVE: &str = "a must not be less than 0";
    const UNFIT: &str = "a must be a number conforming to the specified constraints";

    #[test]
    fn a_text_is_a_string_that_is_not_empty() {
        assert_eq!(non_empty_string("a", Some(&Value::Text("  ".into()))), Ok("  ".to_owned()));
        assert_eq!(messages(non_empty_string("a", None)), [EMPTY, NO_STRING]);
        assert_eq!(messages(non_empty_string("a", Some(&Value::Null))), [EMPTY, NO_STRING]);
        assert_eq!(messages(non_empty_string("a", Some(&Value::Text("".into())))), [EMPTY]);
        assert_eq!(messages(non_empty_string("a", Some(&Value::Nested("{}")))), [NO_STRING]);
        assert_eq!(messages(non_empty_string("a", Some(&Value::Number("5")))), [NO_STRING]);
    }

    #[test]
    fn an_amount_is_a_number_or_a_plain_decimal() {
        assert_eq!(amount("a", Some(&Value::Number("19.99"))), Ok(1999));
        assert_eq!(amount("a", Some(&Value::Text("12.50".into()))), Ok(1250));
        for not_a_number in [None, Some(&Value::Null), Some(&Value::Bool), Some(&Value::Nested("{}"))] {
            assert_eq!(messages(amount("a", not_a_number)), [NEGATIVE, UNFIT]);
        }
        assert_eq!(messages(amount("a", Some(&Value::Text("".into())))), [NEGATIVE, UNFIT]);
        assert_eq!(messages(amount("a", Some(&Value::Number("-1")))), [NEGATIVE]);
        assert_eq!(messages(amount("a", Some(&Value::Number("1.234")))), [UNFIT]);
        assert_eq!(messages(amount("a", Some(&Value::Number("-1.234")))), [NEGATIVE, UNFIT]);
    }

    #[test]
    fn a_positive_number_is_bounded() {
        let check = |text: &str| query_integer(1000)("a", Some(&Value::Text(text.to_owned().into())));
        assert_eq!(check("10"), Ok(10));
        assert_eq!(check(" 010 "), Ok(10));
        assert_eq!(check("10.0"), Ok(10));
        assert_eq!(check("1000"), Ok(1000));
        for text in ["0", "-1", "abc", "", "Infinity", "1e3", "0x10", "0.0", "1.", ".5"] {
            assert_eq!(messages(check(text)), ["a must be a positive number"], "{text}");
        }
        assert_eq!(messages(query_integer(1000)("a", Some(&Value::Nested("{}")))), ["a must be a positive number"]);
        assert_eq!(messages(check("1.5")), ["a must be an integer number"]);
        for text in ["1001", "999999999999", "99999999999999999999"] {
            assert_eq!(messages(check(text)), ["a must not be greater than 1000"], "{text}");
        }
    }

    #[test]
    fn a_whole_number_is_not_a_text_and_is_bounded() {
        fn check(value: Option<&Value>) -> Checked<u64> {
            json_integer(1000)("a", value)
        }
        let number = |text| check(Some(&Value::Number(text)));
        assert_eq!((number("1"), number("1e3"), number("2.0")), (Ok(1), Ok(1000), Ok(2)));
        let text = Value::Text("1".into());
        for absent in [None, Some(&Value::Null), Some(&Value::Bool), Some(&text)] {
            assert_eq!(messages(check(absent)), ["a must be a positive number", UNFIT]);
        }
        for text in ["0", "-0.0", "-1", "-1.5"] {
            assert_eq!(messages(number(text)), ["a must be a positive number"], "{text}");
        }
        assert_eq!(messages(number("1.9")), ["a must be an integer number"]);
        for text in ["1001", "1e400", "18446744073709551616"] {
            assert_eq!(messages(number(text)), ["a must not be greater than 1000"], "{text}");
        }
    }

    #[test]
    fn a_plain_string_may_be_empty() {
        assert_eq!(string("a", Some(&Value::Text("".into()))), Ok(String::new()));
        assert_eq!(messages(string("a", Some(&Value::Null))), [NO_STRING]);
        assert_eq!(messages(string("a", None)), [NO_STRING]);
    }
}
