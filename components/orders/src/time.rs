//! Checks times, which are texts in this component, before they are stored: SQLite stores any text, and PostgreSQL refuses
//! a text that is not a time, but accepts words such as `tomorrow`.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

/// The form of a time up to its seconds, before its fraction and its `Z`.
const FORM: &[u8] = b"0000-00-00T00:00:00";

/// Whether a text is a time in the contract's form, `2024-02-27T15:50:27.545Z`. In this form the text order is the time
/// order.
pub(crate) fn is_timestamp(text: &str) -> bool {
    text.len() == "2024-02-27T15:50:27.545Z".len() && is_rfc3339_utc(text)
}

/// Whether a text is an RFC 3339 time in UTC, with or without a fraction of a second. The crate `time` accepts more: other
/// offsets, small letters, fractions of any length, leap seconds and the year 0, which the databases or the payment provider
/// do not have.
pub(crate) fn is_rfc3339_utc(text: &str) -> bool {
    let Some((second, rest)) = text.split_at_checked(FORM.len()) else { return false };
    let in_form = second.bytes().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    });
    let fraction = rest.strip_suffix('Z').map(|fraction| match fraction.strip_prefix('.') {
        Some(digits) => (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => fraction.is_empty(),
    });
    let is_leap_second = second.ends_with("60");
    in_form
        && fraction == Some(true)
        && !is_leap_second
        && OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|time| time.year() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calendar_times_in_utc_are_accepted() {
        for good in ["2024-02-27T15:50:27Z", "2024-02-29T23:59:59.9Z", "2000-02-29T00:00:00.123456789Z"] {
            assert!(is_rfc3339_utc(good), "{good}");
        }
        for bad in [
            "",
            "tomorrow",
            "2024-02-27",
            "2024-02-27T15:50:27",
            "2024-02-27 15:50:27Z",
            "2024-02-27T15:50:27+00:00",
            "2024-02-27T15:50:27.Z",
            "2024-02-27T15:50:27.1234567890Z",
            "2024-02-27T15:50:60Z",
            "2016-12-31T23:59:60Z",
            "2024-02-27t15:50:27z",
            "2024-02-27T24:00:00Z",
            "2024-02-27T15:60:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "2024-02-27T15:50:2éZ",
        ] {
            assert!(!is_rfc3339_utc(bad), "{bad}");
        }
    }

    #[test]
    fn a_timestamp_has_milliseconds() {
        assert!(is_timestamp("2024-02-27T15:50:27.545Z"));
        for bad in ["2024-02-27T15:50:27Z", "2024-02-27T15:50:27.5450Z", "2024-02-30T15:50:27.545Z"] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }
}
