//! Cross-origin requests: which pages of other origins a browser lets use the API, by the variable `cors_origins`.
//!
//! It is empty by default, and then nothing here is sent. It lists origins (`https://shop.example`), or is `*` for all. A
//! listed origin may send credentials; with `*` a browser sends none, as the Fetch standard has it. The API itself takes no
//! cookie: a token is a header that a page sets, so no page acts for somebody whose token it does not have.
//!
//! Where it is set, every answer says that it depends on `Origin`, so that no cache gives one origin's answer to another.
//! What cannot be an origin is refused with a line in the log, and nothing is allowed then.

use souk_web::Headers;
use spin_sdk::wasip3::http::types::Method;
use std::sync::OnceLock;

/// What a page may send, beside what every page may.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";
const ALLOWED: &str = "authorization, content-type, idempotency-key, if-none-match, x-request-id";
/// What a page may read of an answer, beside what every page may.
const EXPOSED: &str = "content-disposition, etag, retry-after, www-authenticate, x-request-id";
/// How long a browser may remember what is allowed, in seconds.
const MAX_AGE_SECONDS: &str = "600";

/// Who may use the API from a browser.
#[derive(Debug, PartialEq)]
enum Origins {
    Nobody,
    All,
    These(Vec<String>),
}

/// Headers, by name and value.
type Lines = Vec<(String, Vec<u8>)>;

/// What is said about a request's origin.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cors {
    /// The headers of its answer.
    pub headers: Lines,
    /// The headers of the answer to its question whether another request may be made, when it asks that and that may.
    pub preflight: Option<Lines>,
}

impl Cors {
    /// What is said about the origin of a request. It costs nothing where nobody may.
    pub(crate) fn of(method: &Method, headers: &Headers) -> Cors {
        match origins() {
            Origins::Nobody => Cors::default(),
            origins => {
                let asks = matches!(method, Method::Options) && headers.get("access-control-request-method").is_some();
                origins.answer(headers.get("origin").as_deref(), asks)
            }
        }
    }
}

impl Origins {
    fn parse(text: &str) -> Result<Origins, String> {
        let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(Origins::Nobody),
            ["*"] => Ok(Origins::All),
            words => match words.iter().find(|word| !is_origin(word)) {
                Some(word) => Err(format!("{word:?} is no origin such as https://shop.example")),
                None => Ok(Origins::These(words.iter().map(|word| (*word).to_owned()).collect())),
            },
        }
    }

    fn answer(&self, origin: Option<&str>, asks: bool) -> Cors {
        let line = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let allowed = match (self, origin) {
            (Origins::All, Some(_)) => vec![line("access-control-allow-origin", "*")],
            (Origins::These(these), Some(origin)) if these.iter().any(|one| one == origin) => {
                vec![line("access-control-allow-origin", origin), line("access-control-allow-credentials", "true")]
            }
            _ => Vec::new(),
        };
        let is_allowed = !allowed.is_empty();
        let vary = line("vary", if asks { "Origin, Access-Control-Request-Method" } else { "Origin" });
        let headers: Lines = allowed.into_iter().chain([vary]).collect();
        if !is_allowed {
            return Cors { headers, preflight: None };
        }
        if asks {
            let more = [
                line("access-control-allow-methods", METHODS),
                line("access-control-allow-headers", ALLOWED),
                line("access-control-max-age", MAX_AGE_SECONDS),
            ];
            return Cors { headers: Vec::new(), preflight: Some(headers.into_iter().chain(more).collect()) };
        }
        let exposed = line("access-control-expose-headers", EXPOSED);
        Cors { headers: headers.into_iter().chain([exposed]).collect(), preflight: None }
    }
}

/// Whether a text is what browsers send as `Origin`: a scheme and a host, in lower case, and a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
    matches!(scheme, "http" | "https") && !host.is_empty() && host.chars().all(is_host)
}

/// What the variable says; an instance reads it once.
fn origins() -> &'static Origins {
    static ORIGINS: OnceLock<Origins> = OnceLock::new();
    ORIGINS.get_or_init(|| {
        let read = souk_variables::get("cors_origins").map_err(|error| error.to_string());
        read.and_then(|text| Origins::parse(&text)).unwrap_or_else(|error| {
            eprintln!("variable `cors_origins`: {error}; no page of another origin may use the API");
            Origins::Nobody
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(origins: &str, origin: Option<&str>, asks: bool) -> (Vec<String>, Option<Vec<String>>) {
        let lines = |lines: Lines| {
            lines.into_iter().map(|(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap())).collect()
        };
        let Cors { headers, preflight } = Origins::parse(origins).unwrap().answer(origin, asks);
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
            for asks in [true, false] {
                let (headers, preflight) = said(list, other, asks);
                assert!(headers.len() == 1 && headers[0].starts_with("vary: Origin"), "{headers:?}");
                assert_eq!(preflight, None);
            }
        }
    }

    #[test]
    fn a_question_before_a_request_is_answered_for_an_origin_that_may() {
        let (headers, preflight) = said("https://shop.example", Some("https://shop.example"), true);
        assert!(headers.is_empty());
        let preflight = preflight.unwrap().join("\n");
        for part in ["allow-origin: https://shop.example", "PATCH", "idempotency-key", "max-age: 600"] {
            assert!(preflight.contains(part), "{preflight}");
        }
    }

    #[test]
    fn with_a_star_all_may_and_none_with_credentials() {
        let (headers, _) = said("*", Some("https://any.example"), false);
        assert_eq!(headers[..2], ["access-control-allow-origin: *", "vary: Origin"]);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        assert_eq!(Origins::parse(" "), Ok(Origins::Nobody));
        for bad in
            ["shop.example", "https://shop.example/", "https://", "ftp://a", "*, https://a", "https://A.b", "null"]
        {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
