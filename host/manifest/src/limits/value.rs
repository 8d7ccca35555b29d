//! The value of a limit: a size, a duration or a count, as a manifest writes it and `souk doctor --limits` prints it.
//!
//! A printed size or duration can be written into a manifest, in quotes, and gives the same value. So a size is printed
//! in the largest unit that divides it, and is never rounded.

use bytesize::ByteSize;
use std::fmt;
use std::time::Duration;

/// The value of a limit with its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    /// A size in memory, on disk or on the wire.
    Bytes(ByteSize),
    /// A span of time.
    Duration(Duration),
    /// A number of the things that the unit names, in the plural.
    Count(u64, &'static str),
}

impl LimitValue {
    /// A value of the same kind with this number of bytes, milliseconds or things.
    pub(crate) fn with_number(self, number: u64) -> LimitValue {
        match self {
            LimitValue::Bytes(_) => LimitValue::Bytes(ByteSize::b(number)),
            LimitValue::Duration(_) => LimitValue::Duration(Duration::from_millis(number)),
            LimitValue::Count(_, unit) => LimitValue::Count(number, unit),
        }
    }

    /// Parses `text` as a value of the same kind; `Err` names what was expected.
    pub(crate) fn with_text(self, text: &str) -> Result<LimitValue, &'static str> {
        match self {
            LimitValue::Bytes(_) => text.parse().map(LimitValue::Bytes).map_err(|_| "a size"),
            LimitValue::Duration(_) => {
                humantime::parse_duration(text).map(LimitValue::Duration).map_err(|_| "a duration with its unit")
            }
            LimitValue::Count(..) => Err("a number without quotes"),
        }
    }

    /// Whether it lies between `min` and `max`, which are of the same kind.
    pub(crate) fn is_within(self, min: LimitValue, max: LimitValue) -> bool {
        let value = self.ordinal();
        min.ordinal() <= value && value <= max.ordinal()
    }

    fn ordinal(self) -> u128 {
        match self {
            LimitValue::Bytes(size) => size.as_u64().into(),
            LimitValue::Duration(duration) => duration.as_nanos(),
            LimitValue::Count(count, _) => count.into(),
        }
    }

    /// How a manifest writes a value of this kind.
    pub(crate) fn form(self) -> &'static str {
        match self {
            LimitValue::Bytes(_) => "a size such as \"32MiB\", or a whole number of bytes,",
            LimitValue::Duration(_) => "a duration such as \"30s\", or a whole number of milliseconds,",
            LimitValue::Count(..) => "a whole number",
        }
    }
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let text = match *self {
            LimitValue::Bytes(size) => {
                let bytes = size.as_u64();
                match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
                    Some((unit, name)) => format!("{} {name}", bytes / unit),
                    None => format!("{bytes} B"),
                }
            }
            LimitValue::Duration(duration) => humantime::format_duration(duration).to_string(),
            LimitValue::Count(count, unit) => format!("{count} {unit}"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_printed_value_reads_back_as_the_same_value(number: u64, shift in 0_u32..40) {
            let size = LimitValue::Bytes(ByteSize::b((number >> 40) << shift));
            prop_assert_eq!(size.with_text(&size.to_string()), Ok(size));
            let duration = LimitValue::Duration(Duration::from_millis(number >> 24));
            prop_assert_eq!(duration.with_text(&duration.to_string()), Ok(duration));
        }
    }

    #[test]
    fn values_are_printed_in_the_unit_that_fits_and_never_rounded() {
        let printed = |value: LimitValue| value.to_string();
        assert_eq!(printed(LimitValue::Bytes(ByteSize::mib(64))), "64 MiB");
        assert_eq!(printed(LimitValue::Bytes(ByteSize::b(1_048_577))), "1048577 B");
        assert_eq!(printed(LimitValue::Bytes(ByteSize::b(0))), "0 B");
        assert_eq!(printed(LimitValue::Duration(Duration::from_secs(75))), "1m 15s");
        assert_eq!(printed(LimitValue::Duration(Duration::ZERO)), "0s");
        assert_eq!(printed(LimitValue::Count(3, "callers")), "3 callers");
    }
}
