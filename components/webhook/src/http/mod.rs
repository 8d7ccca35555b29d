//! HTTP, as far as one route needs it: the path, one header, the body's bytes, the answers.

pub mod body;
pub mod etag;
pub mod reply;

use spin_sdk::wasip3::http::types::{Fields as Headers, Method};

/// Whether a path, with or without a query, is the webhook's: without regard to case or to one slash at the end, as
/// Express matches.
pub fn is_webhook(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.strip_suffix('/').unwrap_or(path).eq_ignore_ascii_case("/payments/webhook")
}

/// A method, as the request line wrote it.
pub fn name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    }
}

/// The value of a header that has one line at most; several lines are joined as RFC 9110 section 5.3 has it.
pub fn header(headers: &Headers, name: &str) -> Option<String> {
    let lines = headers.get(name);
    let mut lines = lines.iter().map(|line| String::from_utf8_lossy(line));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |all, line| all + ", " + &line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_matched_without_regard_to_case_a_last_slash_or_a_query() {
        for path in ["/payments/webhook", "/Payments/WebHook", "/payments/webhook/", "/payments/webhook?a=/b/"] {
            assert!(is_webhook(path), "{path}");
        }
        for path in ["/payments/webhooks", "/payments/webhook//", "/payments", "/", "", "/?/payments/webhook"] {
            assert!(!is_webhook(path), "{path}");
        }
    }
}
