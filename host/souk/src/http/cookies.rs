//! The administration's cookie, which no component may see.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The cookie of administration sessions. A browser sends an address's cookies to all ports of that address, so the
/// public listener receives it too.
pub(crate) const ADMIN_COOKIE: &str = "souk_admin";

/// The cookies in a header, each with its name and value. They are bytes: a browser sends all cookies in one header,
/// and those of others need not be ASCII.
pub(crate) fn each_cookie(header: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    header.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn is_admin(cookie: &[u8]) -> bool {
    cookie.split(|byte| *byte == b'=').next() == Some(ADMIN_COOKIE.as_bytes())
}

/// Removes the session's cookie from a request for the application.
pub(super) fn strip_admin(headers: &mut HeaderMap) {
    if !headers.get_all(COOKIE).iter().any(|header| each_cookie(header).any(is_admin)) {
        return;
    }
    let all: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for header in all {
        let others: Vec<&[u8]> = each_cookie(&header).filter(|cookie| !is_admin(cookie)).collect();
        if let (false, Ok(value)) = (others.is_empty(), HeaderValue::from_bytes(&others.join(&b"; "[..]))) {
            headers.append(COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_applications_components_never_see_the_cookie() {
        for (given, left) in [
            (&["souk_admin=x"][..], &[][..]),
            (&["a=1; souk_admin=x; b=2"], &["a=1; b=2"]),
            (&["souk_admin=x", "a=souk_admin"], &["a=souk_admin"]),
            (&["a=1;  b=2"], &["a=1;  b=2"]),
        ] {
            let mut headers = HeaderMap::new();
            given.iter().for_each(|value| {
                headers.append("cookie", HeaderValue::from_static(value));
            });
            strip_admin(&mut headers);
            let found: Vec<_> = headers.get_all("cookie").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(found, left, "{given:?}");
        }
    }

    #[test]
    fn a_cookie_that_is_not_ascii_does_not_carry_the_session_to_a_component() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_bytes("a=\u{e9}; souk_admin=x; b=2".as_bytes()).unwrap());
        strip_admin(&mut headers);
        let found: Vec<_> = headers.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(found, ["a=\u{e9}; b=2".as_bytes()]);
    }
}
