//! The page of the administration listener: files that are a part of the program, and load nothing from elsewhere.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, Response};
use http_body_util::Full;

/// Scripts, styles and requests of this listener alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum File {
    Page,
    Script,
    Style,
}

/// The answer with `file`.
pub(super) fn answer(file: File) -> Response<Full<Bytes>> {
    let (kind, text) = match file {
        File::Page => ("text/html; charset=utf-8", include_str!("../../console/index.html")),
        File::Script => ("text/javascript; charset=utf-8", include_str!("../../console/console.js")),
        File::Style => ("text/css; charset=utf-8", include_str!("../../console/console.css")),
    };
    let mut answer = Response::new(Full::from(text));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}
