//! Checks times, which are texts in this component, before they are stored: SQLite stores any text, and PostgreSQL refuses
//! a text that is not a time, but accepts words such as `tomorrow`.

/// The form of a time up to its seconds, before its fraction and its `Z`.
const FORM: &[u8] = b"0000-00-00T00:00:00";

/// Whether a text is a time in the contract's form, `2024-02-27T15:50:27.545Z`. In this form the text order is the time
/// order.
pub(crate) fn is_timestamp(text: &str) -> bool {
    text.len() == "2024-02-27T15:50:27.545Z".len() && is_rfc3339_utc(text)
}

/// Whether a text is an RFC 3339 time in UTC, with or without a fraction of a second. Leap seconds are refused: neither
/// the payment provider's clock nor the databases have any. So is the year 0.
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
    in_form && fraction == Some(true) && is_calendar_time(second)
}

fn is_calendar_time(second: &str) -> bool {
    let number = |from: usize, to: usize| second.get(from..to).and_then(|digits| digits.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else { return false };
    let (Some(hour), Some(minute), Some(second)) = (number(11, 13), number(14, 16), number(17, 19)) else {
        return false;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    year > 0 && (1..=12).contains(&month) && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60
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
