//! Converts PostgreSQL's binary `NUMERIC` from and to decimal text.
//!
//! The text is exact and keeps the scale: `1.50` stays `1.50`. Of sqlx's decimal types, one holds only 28 digits, where
//! `NUMERIC` holds 131,072. The other loses the scale and takes quadratic time for large numbers, with which a guest
//! could block a thread. Both conversions here take one pass.

use super::wire::{BytesLeft, Malformed, Reader};

/// A digit of base 10,000 stands for this many decimal digits.
const GROUP: usize = 4;

souk_manifest::fixed_limits! {
    /// The fixed limits of numbers.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// The most decimal digits before a number's point: PostgreSQL's own limit.
    const MAX_DIGITS_BEFORE_POINT: usize = 131_072, "digits";
    /// The most decimal digits after a number's point: PostgreSQL's own limit.
    const MAX_DIGITS_AFTER_POINT: usize = 16_383, "digits";
}

const NEGATIVE: u16 = 0x4000;

/// The decimal text of a binary `NUMERIC`, whose memory counts against `budget`; `Err` for NaN and infinities, which
/// are not decimals.
pub(super) fn read(bytes: &[u8], budget: &mut BytesLeft) -> Result<String, Malformed> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u16()?);
    let weight = i32::from(reader.i16()?);
    let sign = reader.u16()?;
    let scale = usize::from(reader.u16()?);
    if sign & !NEGATIVE != 0 {
        return Err(Malformed("NaN or infinity, which is not a decimal"));
    }
    let groups = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    if groups.iter().any(|group| *group >= 10_000) {
        return Err(Malformed("a decimal with invalid digits"));
    }
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let first = group(0.min(weight)).to_string();
    let point = if scale > 0 { "." } else { "" };
    // 1e131071 takes ten bytes on the wire.
    let before = sign.len() + first.len() + GROUP * usize::try_from(weight).unwrap_or(0);
    let length = before + point.len() + scale;
    budget.spend(length)?;
    let mut text = String::with_capacity(length + GROUP);
    text.push_str(sign);
    text.push_str(&first);
    for at in 1..=weight {
        push_group(&mut text, group(at));
    }
    text.push_str(point);
    let mut at = weight + 1;
    while text.len() < length {
        push_group(&mut text, group(at));
        at += 1;
    }
    text.truncate(length);
    Ok(text)
}

/// Appends the four digits of a group.
fn push_group(text: &mut String, group: u16) {
    text.extend([1000, 100, 10, 1].into_iter().filter_map(|unit| char::from_digit(u32::from(group / unit % 10), 10)));
}

/// Appends the binary form of `text`: digits with at most one point and one sign. `None` when it is not a decimal, or
/// too large for a `NUMERIC`.
pub(super) fn write(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (before, after) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if before.is_empty() && after.is_empty() || !before.bytes().chain(after.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let before = before.trim_start_matches('0');
    if before.len() > MAX_DIGITS_BEFORE_POINT || after.len() > MAX_DIGITS_AFTER_POINT {
        return None;
    }
    let lead = before.len().next_multiple_of(GROUP) - before.len();
    let digits = std::iter::repeat_n(b'0', lead).chain(before.bytes()).chain(after.bytes());
    let mut groups = Vec::with_capacity((lead + before.len() + after.len()) / GROUP + 1);
    let (mut group, mut held) = (0_u16, 0);
    for digit in digits {
        group = group * 10 + u16::from(digit - b'0');
        held += 1;
        if held == GROUP {
            groups.push(std::mem::take(&mut group));
            held = 0;
        }
    }
    if held > 0 {
        groups.push((held..GROUP).fold(group, |group, _| group * 10));
    }
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    let end = groups.iter().rposition(|group| *group != 0).map_or(zeros, |last| last + 1);
    let groups = groups.get(zeros..end)?;
    let weight = match groups {
        [] => 0,
        _ => i16::try_from(i32::try_from((lead + before.len()) / GROUP).ok()? - 1 - i32::try_from(zeros).ok()?).ok()?,
    };
    let sign = if text.starts_with('-') && !groups.is_empty() { NEGATIVE } else { 0 };
    out.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend(u16::try_from(after.len()).ok()?.to_be_bytes());
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(text: &str) -> Option<String> {
        let mut bytes = Vec::new();
        write(text, &mut bytes)?;
        let mut budget = BytesLeft(usize::MAX);
        let back = read(&bytes, &mut budget).unwrap();
        assert_eq!(usize::MAX - budget.0, back.len(), "what it takes is known beforehand");
        assert!(read(&bytes, &mut BytesLeft(back.len() - 1)).is_err());
        Some(back)
    }

    #[test]
    fn texts_that_are_no_decimals_are_refused() {
        for text in ["", ".", "-", "+", "1e5", "1_000", "NaN", "1.2.3", "0x1", " 1", "١", "--1", "1-"] {
            assert_eq!(round_trip(text), None, "{text}");
        }
        assert_eq!(round_trip(&"9".repeat(MAX_DIGITS_BEFORE_POINT + 1)), None);
        assert_eq!(round_trip(&format!("0.{}", "1".repeat(MAX_DIGITS_AFTER_POINT + 1))), None);
    }

    #[test]
    fn scale_and_sign_are_kept_and_superfluous_zeros_are_not() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("+1.50", "1.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("007", "7"),
            ("10000", "10000"),
            ("-0.00001234", "-0.00001234"),
            ("100000000.00000001", "100000000.00000001"),
        ] {
            assert_eq!(round_trip(text).as_deref(), Some(expected), "{text}");
        }
        let largest = format!("{}.{}", "9".repeat(MAX_DIGITS_BEFORE_POINT), "9".repeat(MAX_DIGITS_AFTER_POINT));
        assert_eq!(round_trip(&largest), Some(largest));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let mut bytes = Vec::new();
        write("123456.789", &mut bytes).unwrap();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], &mut BytesLeft(usize::MAX)).is_err());
        }
        assert!(read(&[0, 0, 0, 0, 0xC0, 0, 0, 0], &mut BytesLeft(99)).is_err(), "NaN");
        assert!(read(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10], &mut BytesLeft(99)).is_err(), "a group of five digits");
    }

    proptest! {
        #[test]
        fn decimals_survive(text in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?") {
            let zero = text.bytes().all(|b| !(b'1'..=b'9').contains(&b));
            let expected = if zero { text.trim_start_matches('-').to_owned() } else { text.clone() };
            prop_assert_eq!(round_trip(&text), Some(expected));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes, &mut BytesLeft(usize::MAX));
        }
    }
}
