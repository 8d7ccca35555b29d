//! Reads numbers from clients exactly, without floats, whatever their length or size.

/// A number times a power of ten.
#[derive(Debug, PartialEq)]
pub(crate) struct Scaled {
    /// Whether it is below zero; zero is never negative.
    pub negative: bool,
    /// Its absolute value, or why it is not a whole number of 64 bits.
    pub magnitude: Result<u64, Misfit>,
}

/// Why a number is not a whole number of 64 bits.
#[derive(Debug, PartialEq)]
pub(crate) enum Misfit {
    /// It has a fraction that is not zero.
    Fraction,
    /// It is too large for 64 bits.
    TooLarge,
}

/// The value of a JSON number times ten to the power of `places`, from the digits that the client wrote.
pub(crate) fn from_json(text: &str, places: i64) -> Scaled {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // With an exponent that overflows, only its sign matters: it makes every mantissa except zero a fraction, or too
    // large.
    let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent: i64 = exponent.parse().unwrap_or(far);
    from_plain(mantissa, exponent.saturating_add(places))
}

/// The value of `mantissa` (digits with an optional sign and point) times ten to the power of `places`.
pub(crate) fn from_plain(mantissa: &str, places: i64) -> Scaled {
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (units, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{units}{decimals}");
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Scaled { negative: false, magnitude: Ok(0) };
    }
    let trailing = all.len() - all.trim_end_matches('0').len();
    // The value is `significant` times ten to this power.
    let power = places.saturating_add(trailing as i64 - decimals.len() as i64);
    let magnitude = if power < 0 { Err(Misfit::Fraction) } else { scale(significant, power).ok_or(Misfit::TooLarge) };
    Scaled { negative: unsigned.len() < mantissa.len(), magnitude }
}

fn scale(digits: &str, power: i64) -> Option<u64> {
    let factor = 10_u64.checked_pow(u32::try_from(power).ok()?)?;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_whole_in_every_notation() {
        for (text, value) in [("0", 0), ("-0.0", 0), ("7", 7), ("7.0", 7), ("1e2", 100), ("1.5E+1", 15), ("30e-1", 3)] {
            assert_eq!(from_json(text, 0), Scaled { negative: false, magnitude: Ok(value) }, "{text}");
        }
        assert_eq!(from_json("18446744073709551615", 0).magnitude, Ok(u64::MAX));
        assert_eq!(from_json("-2", 0), Scaled { negative: true, magnitude: Ok(2) });
        assert_eq!(from_json("1.25", 2).magnitude, Ok(125));
    }

    #[test]
    fn a_number_that_is_not_whole_has_a_reason() {
        for text in ["1.5", "-0.1", "1e-7", "1e-99999999999999999999", "123456789012345678901234567890.5"] {
            assert_eq!(from_json(text, 0).magnitude, Err(Misfit::Fraction), "{text}");
        }
        for text in ["18446744073709551616", "1e20", "1e99999999999999999999"] {
            assert_eq!(from_json(text, 0).magnitude, Err(Misfit::TooLarge), "{text}");
        }
    }
}
