//! The administration's cookie, which no component may see.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The cookie of an administration session. A browser sends an address's cookies to all ports of that address, so the
/// public listener receives it too.
pub(crate) const ADMIN_COOKIE: &str = "souk_admin";

/// Removes the session's cookie from a request for the application.
pub(super) fn strip_admin(headers: &mut HeaderMap) {
    let is_ours = |pair: &str| pair.trim().split('=').next() == Some(ADMIN_COOKIE);
    let ours = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.split(';').any(is_ours));
    if !headers.get_all(COOKIE).iter().any(ours) {
        return;
    }
    let all: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for value in all {
        let Ok(text) = value.to_str() else {
            headers.append(COOKIE, value);
            continue;
        };
        let others: Vec<&str> = text.split(';').map(str::trim).filter(|pair| !is_ours(pair)).collect();
        if let (false, Ok(value)) = (others.is_empty(), HeaderValue::try_from(others.join("; "))) {
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
}
