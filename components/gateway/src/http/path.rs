//! Paths as Express matches them: without regard to case, with or without one slash at the end, decoded only where a
//! parameter is taken.

use super::error::Error;
use std::borrow::Cow;

/// The segments of a path. Empty ones stay, so that `//` matches nothing.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_suffix('/').unwrap_or(path).split('/').skip(1)
}

/// A parameter, percent-decoded.
///
/// # Errors
/// 400 when it is not the percent-encoding of UTF-8.
pub(crate) fn parameter(segment: &str) -> Result<Cow<'_, str>, Error> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    // The decoder leaves a `%` without two digits as it is; Express refuses it.
    let malformed = segment
        .split('%')
        .skip(1)
        .any(|rest| !rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())));
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .filter(|_| !malformed)
        .ok_or_else(|| Error::bad_request(format!("Failed to decode param '{segment}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_at_the_end_makes_no_difference() {
        let all = |path| segments(path).collect::<Vec<_>>();
        assert_eq!(all("/api/products"), ["api", "products"]);
        assert_eq!(all("/api/products/"), ["api", "products"]);
        assert_eq!(all("/api/products//"), ["api", "products", ""]);
        assert_eq!(all("/api//products"), ["api", "", "products"]);
        assert!(all("/").is_empty());
    }

    #[test]
    fn a_parameter_is_decoded_or_refused_in_the_recorded_words() {
        assert_eq!(parameter("1").unwrap(), "1");
        assert_eq!(parameter("%31").unwrap(), "1");
        assert_eq!(parameter("%C3%A9").unwrap(), "é");
        for bad in ["%E0%A4%A", "%", "%zz", "%ff", "a%1é"] {
            let body = String::from_utf8(parameter(bad).unwrap_err().into_reply().body).unwrap();
            let message = format!("Failed to decode param '{bad}'");
            assert_eq!(body, format!(r#"{{"message":"{message}","error":"Bad Request","statusCode":400}}"#));
        }
    }
}
