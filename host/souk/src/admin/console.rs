//! The console: files that are part of the program and load nothing from other servers. There is no build step: a
//! browser gets exactly what is in `host/souk/console`.

use super::problem::Problem;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, Response};
use http_body_util::Full;

/// Allows scripts, styles and requests of this listener only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A file: its name under `/console/`, and its text.
struct File(&'static str, &'static str);

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(File($name, include_str!(concat!("../../console/", $name)))),*] };
}

/// The first file is the page.
static FILES: &[File] = files![
    "index.html",
    "console.css",
    "console.js",
    "api.js",
    "dom.js",
    "explorer.js",
    "form.js",
    "limits.js",
    "log.js",
    "map.js",
    "messages.js",
    "openapi.js",
    "rates.js",
    "readiness.js",
    "traces.js",
    "versions.js",
];

/// The answer with the file `name`; an empty name is the page.
///
/// # Errors
/// When there is no such file.
pub(super) fn answer(name: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let name = if name.is_empty() { "index.html" } else { name };
    let file = FILES.iter().find(|file| file.0 == name);
    let File(name, text) = file.ok_or_else(|| Problem::not_found("the console has no such file"))?;
    let kind = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "text/html; charset=utf-8",
    };
    let mut answer = Response::new(Full::from(*text));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_asks_no_other_host() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let mut served: Vec<&str> = FILES.iter().map(|file| file.0).collect();
        served.sort_unstable();
        assert_eq!(served, names);
        for File(name, text) in FILES {
            // The namespace of SVG elements is not an address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{name} names another host");
            assert!(answer(name).is_ok(), "{name}");
        }
        assert!(answer("other.js").is_err());
    }
}
