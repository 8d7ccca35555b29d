//! The part of a file that a client asks for (`Range`), as RFC 9110 reads it.
//!
//! `ServeDir` answers 416 to every `Range` that it does not understand. HTTP wants such a header to be ignored, and the
//! whole file to be sent, so this module hands `ServeDir` only what it understands: one range of bytes. Several ranges
//! are ignored too, because with them a small request could cause a large response.

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// One range of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ByteRange {
    /// From this byte to that one, or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl ByteRange {
    /// The range that `Range` asks for; `None` when the header is to be ignored.
    pub(super) fn parse(header: &HeaderValue) -> Option<ByteRange> {
        let (unit, range) = header.to_str().ok()?.split_once('=')?;
        let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => Some(ByteRange::Last(number(last)?)),
            (first, "") => Some(ByteRange::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(ByteRange::From(first, Some(last)))
            }
        }
    }

    /// The header that asks for this range.
    pub(super) fn header(self) -> Option<HeaderValue> {
        let text = match self {
            ByteRange::From(first, None) => format!("bytes={first}-"),
            ByteRange::From(first, Some(last)) => format!("bytes={first}-{last}"),
            ByteRange::Last(count) => format!("bytes=-{count}"),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The range to ask for in place of this one, after `ServeDir`'s `response`: `Some(None)` is the whole file.
    ///
    /// The last 500 bytes of a shorter file are all of it. An empty file has no part, but many clients ask for one
    /// of whatever they fetch.
    pub(super) fn corrected<B>(self, response: &Response<B>) -> Option<Option<ByteRange>> {
        match (response.status(), complete_length(response.headers())?, self) {
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, 0, _) => Some(None),
            (StatusCode::RANGE_NOT_SATISFIABLE, length, ByteRange::Last(count)) if count > length => {
                Some(Some(ByteRange::From(0, None)))
            }
            _ => None,
        }
    }
}

/// Digits, however many.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The length of the whole file, from the headers of a part.
fn complete_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_http_says_and_anything_else_is_ignored() {
        use ByteRange::{From, Last};
        for (header, expected) in [
            ("bytes=4-4", Some(From(4, Some(4)))),
            ("bytes=4-", Some(From(4, None))),
            ("bytes=-500", Some(Last(500))),
            ("bytes=-0", Some(Last(0))),
            ("Bytes= 00-04 ", Some(From(0, Some(4)))),
            ("bytes=0-99999999999999999999999", Some(From(0, Some(u64::MAX)))),
            ("bytes=4-2", None),
            ("bytes=0-1,4-5", None),
            ("bytes=0-1,", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("bytes=", None),
            ("bytes", None),
            ("bytes=a-b", None),
            ("items=0-5", None),
            ("", None),
        ] {
            assert_eq!(ByteRange::parse(&HeaderValue::from_static(header)), expected, "{header}");
        }
    }
}
