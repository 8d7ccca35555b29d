//! Request bodies as Express's body-parser reads them: JSON and forms, plain or compressed, at most 100 KiB.
//!
//! Every kind becomes JSON text, so a route sees one kind of input. A body of any other type is not read at all, and
//! counts as no body: the validation then reports the missing fields, as in the NestJS system. A hint tells the client
//! why they are missing; an empty body and a list get such a hint too.
//!
//! Refused with 400: a body that is not UTF-8, and JSON that is sent as a form, which would become a single field with
//! the whole JSON as its name. Refused with 415, before the body is read: other encodings and charsets. Refused with
//! 413: a body above the limit. The limit counts bytes after decompression, so that a small compressed body cannot fill
//! the sandbox.

use super::error::Error;
use super::query;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use souk_web::{BodyError, Request};
use std::io::Read;

/// The most bytes of a body, after decompression: body-parser's default.
const MAX_BODY_BYTES: usize = 100 * 1024;

/// The header for JSON.
const JSON_TYPE: &str = "`content-type: application/json`";

/// The result of reading a body.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Body {
    /// JSON text; empty if nothing was parsed.
    pub text: String,
    /// Why the body has no fields: the hint for a client whose required fields are missing.
    pub missing_hint: Option<String>,
}

/// The content types that are parsed.
#[derive(Debug, PartialEq)]
enum Kind {
    Json,
    Form,
}

/// The content encodings that are decoded.
#[derive(Debug, PartialEq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// The format of a body, from its headers.
#[derive(Debug, PartialEq)]
struct Format {
    kind: Kind,
    encoding: Encoding,
}

impl Format {
    /// `None` when bodies of this type are not parsed.
    fn of(content_type: &str, content_encoding: Option<&str>) -> Result<Option<Self>, Error> {
        let mut parts = content_type.split(';');
        let kind = match parts.next().unwrap_or_default().trim() {
            t if t.eq_ignore_ascii_case("application/json") => Kind::Json,
            t if t.eq_ignore_ascii_case("application/x-www-form-urlencoded") => Kind::Form,
            _ => return Ok(None),
        };
        let charset = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches('"'));
        if let Some(charset) = charset.filter(|c| !c.eq_ignore_ascii_case("utf-8")) {
            let charset = charset.to_ascii_uppercase();
            return Err(Error::protocol(415, format!("unsupported charset \"{charset}\"")));
        }
        let encoding = match content_encoding.unwrap_or("identity").to_ascii_lowercase().as_str() {
            "identity" => Encoding::Identity,
            "gzip" => Encoding::Gzip,
            "deflate" => Encoding::Deflate,
            other => return Err(Error::protocol(415, format!("unsupported content encoding \"{other}\""))),
        };
        Ok(Some(Format { kind, encoding }))
    }

    /// The received bytes as JSON text.
    fn decode(&self, raw: Vec<u8>) -> Result<String, Error> {
        let bytes = match self.encoding {
            Encoding::Identity => raw,
            Encoding::Gzip => inflate(MultiGzDecoder::new(raw.as_slice()))?,
            Encoding::Deflate => inflate(ZlibDecoder::new(raw.as_slice()))?,
        };
        let text = String::from_utf8(bytes).map_err(|_| Error::protocol(400, "the body is not UTF-8"))?;
        // Drops a byte order mark, as iconv-lite does.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        match self.kind {
            Kind::Json => Ok(text),
            Kind::Form if text.trim_start().starts_with(['{', '[']) => {
                let message = "the body is JSON, but its content-type is that of a form";
                Err(Error::protocol(400, message).hint(format!("send it with {JSON_TYPE}")))
            }
            Kind::Form => query::to_json(&text),
        }
    }
}

fn inflate(decoder: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    decoder
        .take(MAX_BODY_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Error::protocol(400, "the body does not match its content-encoding"))?;
    if bytes.len() > MAX_BODY_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Error {
    Error::protocol(413, "request entity too large")
}

/// Reads the body of `request` as JSON text.
pub(crate) async fn read(request: &mut Request) -> Result<Body, Error> {
    let headers = &request.headers;
    let content_type = headers.get("content-type");
    let format = match &content_type {
        Some(content_type) => Format::of(content_type, headers.get("content-encoding").as_deref())?,
        None => None,
    };
    let Some(format) = format else {
        let length = headers.get("content-length");
        let is_sent = length.is_some_and(|length| length != "0") || headers.get("transfer-encoding").is_some();
        return Ok(Body { text: String::new(), missing_hint: is_sent.then(|| unread(content_type.as_deref())) });
    };
    let raw = request.body(MAX_BODY_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(),
        BodyError::Aborted => Error::protocol(400, "request aborted"),
    })?;
    Ok(Body { text: format.decode(raw)?, missing_hint: None })
}

/// The reason why a body of this type was not read.
pub(crate) fn unread(content_type: Option<&str>) -> String {
    let form = "or as a form with `content-type: application/x-www-form-urlencoded`";
    match content_type {
        None => {
            format!("the body was not read, because it has no content-type: send it as JSON with {JSON_TYPE}, {form}")
        }
        Some(_) => {
            format!(
                "the body was not read, because its content-type is not supported: send it as JSON with {JSON_TYPE}, {form}"
            )
        }
    }
}

/// Why there are no fields in a body that was read.
pub(crate) fn without_fields(text: &str) -> Option<String> {
    match text.trim_start().chars().next() {
        None => Some(format!("the request has no body: send one object as JSON with {JSON_TYPE}")),
        Some('[') => Some("the body is a list: send one object".to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn format(content_type: &str, encoding: Option<&str>) -> Format {
        Format::of(content_type, encoding).unwrap().unwrap()
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
        let reply = result.unwrap_err().into_reply();
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    #[test]
    fn json_and_forms_are_parsed_and_nothing_else() {
        assert_eq!(format("application/json", None).kind, Kind::Json);
        assert_eq!(format("Application/JSON; charset=UTF-8", None).kind, Kind::Json);
        assert_eq!(format("application/x-www-form-urlencoded", None).kind, Kind::Form);
        for other in ["application/vnd.api+json", "text/plain", "", "multipart/form-data; boundary=x"] {
            assert_eq!(Format::of(other, Some("foo")).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn an_unknown_charset_or_encoding_is_415_in_the_recorded_words() {
        assert_eq!(
            refused(Format::of("application/json; charset=latin1", None)),
            (415, r#"{"statusCode":415,"message":"unsupported charset \"LATIN1\""}"#.to_owned())
        );
        assert_eq!(
            refused(Format::of("application/json", Some("FOO"))),
            (415, r#"{"statusCode":415,"message":"unsupported content encoding \"foo\""}"#.to_owned())
        );
    }

    #[test]
    fn the_recorded_gzip_body_is_inflated() {
        let raw = base64::engine::general_purpose::STANDARD
            .decode("H4sIAAAAAAAAA6tWykvMTVWyUnKvyixQKCjKTylNLlHSUSooykxOVbIyqQUA+AzH2iEAAAA=")
            .unwrap();
        let text = format("application/json", Some("gzip")).decode(raw).unwrap();
        assert_eq!(text, r#"{"name":"Gzip product","price":4}"#);
    }

    #[test]
    fn the_limit_counts_inflated_bytes() {
        for (len, fits) in [(MAX_BODY_BYTES, true), (MAX_BODY_BYTES + 1, false), (50 << 20, false)] {
            let body = vec![b' '; len];
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&body).unwrap();
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(&body).unwrap();
            for (encoding, raw) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
                let decoded = format("application/json", Some(encoding)).decode(raw);
                assert_eq!(decoded.is_ok(), fits, "{encoding} of {len} bytes");
                if !fits {
                    let expected = r#"{"statusCode":413,"message":"request entity too large"}"#;
                    assert_eq!(refused(decoded), (413, expected.to_owned()));
                }
            }
        }
    }

    #[test]
    fn a_body_that_is_not_what_its_encoding_says_is_400() {
        let (status, _) = refused(format("application/json", Some("gzip")).decode(b"{}".to_vec()));
        assert_eq!(status, 400);
    }

    #[test]
    fn a_form_becomes_json() {
        let form = format("application/x-www-form-urlencoded", None);
        let text = form.decode(b"name=Form+product&price=3.5".to_vec()).unwrap();
        assert_eq!(text, r#"{"name":"Form product","price":"3.5"}"#);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_other_encodings_than_utf_8_are_refused() {
        let json = format("application/json", None);
        assert_eq!(json.decode(b"\xef\xbb\xbf{}".to_vec()).unwrap(), "{}");
        let (status, body) = refused(json.decode(b"{\"a\":\"\xff\"}".to_vec()));
        assert_eq!((status, body.as_str()), (400, r#"{"statusCode":400,"message":"the body is not UTF-8"}"#));
    }

    #[test]
    fn json_that_is_sent_as_a_form_is_refused_and_not_repeated() {
        let form = format("application/x-www-form-urlencoded", None);
        for json in [r#"{"password":"Abc123!x"}"#, r#" [{"password":"Abc123!x"}]"#] {
            let (status, body) = refused(form.decode(json.as_bytes().to_vec()));
            assert_eq!(status, 400);
            assert!(body.contains("application/json") && !body.contains("Abc123"), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_read_gets_a_hint() {
        for hint in [unread(None), unread(Some("text/plain"))] {
            assert!(hint.contains("application/json") && !hint.contains("text/plain"), "{hint}");
        }
        assert_ne!(unread(None), unread(Some("text/plain")));
    }
}
