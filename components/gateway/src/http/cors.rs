//! CORS: the variable `cors_origins` says from which other origins browsers may use the API.
//!
//! By default it is empty, and no CORS header is sent. It is a list of origins (`https://shop.example`), or `*` for any
//! origin. A listed origin may send credentials; with `*` browsers send none (Fetch standard). The API uses no cookies:
//! a page must set the token in a header, so a page without a user's token cannot act for that user.
//!
//! If it is set, every answer has `Vary: Origin`, so that no cache gives the answer for one origin to another. If any
//! entry is not an origin, an error is logged and no origin is allowed.

use souk_web::Headers;
use spin_sdk::wasip3::http::types::Method;
use std::sync::OnceLock;

/// `Access-Control-Allow-Methods`.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";
/// `Access-Control-Allow-Headers`: request headers that a page may set.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key, if-none-match, x-request-id";
/// `Access-Control-Expose-Headers`: response headers that a page may read.
const EXPOSED_HEADERS: &str = "content-disposition, etag, retry-after, www-authenticate, x-request-id";
/// How long a browser may remember what is allowed, in seconds.
const MAX_AGE_SECONDS: &str = "600";

/// Who may use the API from a browser.
#[derive(Debug, PartialEq)]
enum Origins {
    None,
    Any,
    Listed(Vec<String>),
}

/// Headers, by name and value.
type Lines = Vec<(String, Vec<u8>)>;

/// The CORS headers for one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cors {
    /// The headers of its answer.
    pub headers: Lines,
    /// The headers of the answer to a preflight request, if this is one and its origin is allowed.
    pub preflight: Option<Lines>,
}

impl Cors {
    /// The CORS headers for a request. Without allowed origins no header is read.
    pub(crate) fn of(method: &Method, headers: &Headers) -> Cors {
        match origins() {
            Origins::None => Cors::default(),
            origins => {
                let is_preflight =
                    matches!(method, Method::Options) && headers.get("access-control-request-method").is_some();
                origins.answer(headers.get("origin").as_deref(), is_preflight)
            }
        }
    }
}

impl Origins {
    fn parse(text: &str) -> Result<Origins, String> {
        let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(Origins::None),
            ["*"] => Ok(Origins::Any),
            words => match words.iter().find(|word| !is_origin(word)) {
                Some(word) => Err(format!("{word:?} is not an origin; write origins as https://shop.example")),
                None => Ok(Origins::Listed(words.iter().map(|word| (*word).to_owned()).collect())),
            },
        }
    }

    fn answer(&self, origin: Option<&str>, is_preflight: bool) -> Cors {
        let line = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let allowed = match (self, origin) {
            (Origins::Any, Some(_)) => vec![line("access-control-allow-origin", "*")],
            (Origins::Listed(listed), Some(origin)) if listed.iter().any(|one| one == origin) => {
                vec![line("access-control-allow-origin", origin), line("access-control-allow-credentials", "true")]
            }
            _ => Vec::new(),
        };
        let is_allowed = !allowed.is_empty();
        let vary = line("vary", if is_preflight { "Origin, Access-Control-Request-Method" } else { "Origin" });
        let headers: Lines = allowed.into_iter().chain([vary]).collect();
        if !is_allowed {
            return Cors { headers, preflight: None };
        }
        if is_preflight {
            let more = [
                line("access-control-allow-methods", METHODS),
                line("access-control-allow-headers", ALLOWED_HEADERS),
                line("access-control-max-age", MAX_AGE_SECONDS),
            ];
            return Cors { headers: Vec::new(), preflight: Some(headers.into_iter().chain(more).collect()) };
        }
        let exposed = line("access-control-expose-headers", EXPOSED_HEADERS);
        Cors { headers: headers.into_iter().chain([exposed]).collect(), preflight: None }
    }
}

/// Whether `text` can be an `Origin` header: scheme, host and optional port, in lower case.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
    matches!(scheme, "http" | "https") && !host.is_empty() && host.chars().all(is_host)
}

/// The value of the variable; an instance reads it once.
fn origins() -> &'static Origins {
    static ORIGINS: OnceLock<Origins> = OnceLock::new();
    ORIGINS.get_or_init(|| {
        let read = souk_variables::get("cors_origins").map_err(|error| error.to_string());
        read.and_then(|text| Origins::parse(&text)).unwrap_or_else(|error| {
            eprintln!("variable `cors_origins`: {error}; no page of another origin may use the API");
            Origins::None
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(origins: &str, origin: Option<&str>, is_preflight: bool) -> (Vec<String>, Option<Vec<String>>) {
        let lines = |lines: Lines| {
            lines.into_iter().map(|(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap())).collect()
        };
        let Cors { headers, preflight } = Origins::parse(origins).unwrap().answer(origin, is_preflight);
        (lines(headers), preflight.map(lines))
    }

    #[test]
    fn a_listed_origin_is_named_and_another_is_not() {
        let list = "https://shop.example, http://localhost:5173";
        let (headers, preflight) = said(list, Some("http://localhost:5173"), false);
        assert_eq!(preflight, None);
        assert_eq!(
            headers[..3],
            [
                "access-control-allow-origin: http://localhost:5173",
                "access-control-allow-credentials: true",
                "vary: Origin"
            ]
        );
        assert!(headers[3].starts_with("access-control-expose-headers: "));
        for other in [Some("https://shop.example.evil"), Some("null"), Some("https://SHOP.example"), None] {
            for is_preflight in [true, false] {
                let (headers, preflight) = said(list, other, is_preflight);
                assert!(headers.len() == 1 && headers[0].starts_with("vary: Origin"), "{headers:?}");
                assert_eq!(preflight, None);
            }
        }
    }

    #[test]
    fn a_preflight_request_of_an_allowed_origin_is_answered() {
        let (headers, preflight) = said("https://shop.example", Some("https://shop.example"), true);
        assert!(headers.is_empty());
        let preflight = preflight.unwrap().join("\n");
        for part in ["allow-origin: https://shop.example", "PATCH", "idempotency-key", "max-age: 600"] {
            assert!(preflight.contains(part), "{preflight}");
        }
    }

    #[test]
    fn with_a_star_any_origin_is_allowed_but_without_credentials() {
        let (headers, _) = said("*", Some("https://any.example"), false);
        assert_eq!(headers[..2], ["access-control-allow-origin: *", "vary: Origin"]);
    }

    #[test]
    fn an_invalid_origin_is_refused() {
        assert_eq!(Origins::parse(" "), Ok(Origins::None));
        for bad in
            ["shop.example", "https://shop.example/", "https://", "ftp://a", "*, https://a", "https://A.b", "null"]
        {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
