//! The recorded answers of the NestJS system that the store replaces (`tests/golden.json`), and the comparison with an
//! answer of the store.
//!
//! The recording has placeholders for values that change from run to run: `<iso>`, `<uuid>`, `<5 rows>`. A placeholder
//! matches every value of its form; everything else must be equal.

use super::{Answer, build};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One recorded request with its answer.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    pub group: String,
    pub name: String,
    /// The service that was down.
    pub service_down: Option<String>,
    pub method: String,
    pub path_template: String,
    pub headers: BTreeMap<String, String>,
    /// See [`body`].
    pub body: Option<String>,
    pub status: u16,
    pub content_type: Option<String>,
    pub response_normalised: Value,
    pub etag_present: bool,
}

/// An intended difference from the recording.
#[derive(Deserialize)]
pub(crate) struct Difference {
    pub group: String,
    pub name: String,
    /// The reason, for readers of the file.
    #[serde(rename = "reason")]
    _reason: String,
    pub expected: Expected,
}

/// The answer that is expected instead of the recorded one.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub status: u16,
    #[serde(default = "json")]
    pub content_type: String,
    pub body: Value,
}

fn json() -> String {
    "application/json; charset=utf-8".to_owned()
}

/// Reads a list from a file in `tests`.
pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = build::root().join("tests").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The bytes of a recorded body, which is text, `<base64:...>`, or shortened to `START...<N bytes>...END`.
pub(crate) fn body(text: &str) -> Vec<u8> {
    if let Some(encoded) = text.strip_prefix("<base64:").and_then(|t| t.strip_suffix('>')) {
        return STANDARD.decode(encoded).unwrap();
    }
    let Some((start, rest)) = text.split_once("...<") else { return text.into() };
    let (length, end) = rest.split_once(" bytes>...").expect("a shortened body");
    let length: usize = length.parse().unwrap();
    // The omitted part repeats the last character before the gap.
    let fill = start.chars().last().unwrap().to_string().repeat(length - start.len() - end.len());
    format!("{start}{fill}{end}").into_bytes()
}

/// Checks that `answer` is the expected one; the error says what differs.
pub(crate) fn compare(
    answer: &Answer,
    status: u16,
    content_type: Option<&str>,
    expected: &Value,
) -> Result<(), String> {
    let got = || format!("got {answer:?}");
    if answer.status != status {
        return Err(format!("status {status} expected, {}", got()));
    }
    if answer.header("content-type") != content_type {
        return Err(format!("content type {content_type:?} expected, {}", got()));
    }
    if let Some(length) = counted(expected, "bytes") {
        let same = answer.body.len() == length;
        return if same { Ok(()) } else { Err(format!("{length} bytes expected, not {}", answer.body.len())) };
    }
    let is_json = !answer.body.is_empty() && content_type.is_some_and(|kind| kind.starts_with("application/json"));
    let body = match is_json {
        true => serde_json::from_slice(&answer.body).map_err(|_| format!("JSON expected, {}", got()))?,
        false => Value::String(answer.text()),
    };
    if matches(expected, &body) { Ok(()) } else { Err(format!("expected {expected}, {}", got())) }
}

/// The N of a placeholder `<N UNIT>`.
fn counted(expected: &Value, unit: &str) -> Option<usize> {
    let text = expected.as_str()?.strip_prefix('<')?.strip_suffix('>')?;
    text.strip_suffix(unit)?.trim_end().parse().ok()
}

/// Whether a value is the expected one, which may contain placeholders.
pub(crate) fn matches(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::String(e), Value::String(g)) => has_form(e, g),
        (Value::String(_), Value::Array(rows)) => counted(expected, "rows") == Some(rows.len()),
        (Value::Array(e), Value::Array(g)) => e.len() == g.len() && e.iter().zip(g).all(|(e, g)| matches(e, g)),
        (Value::Object(e), Value::Object(g)) => {
            e.len() == g.len() && e.iter().all(|(key, e)| g.get(key).is_some_and(|g| matches(e, g)))
        }
        _ => expected == got,
    }
}

/// Whether a text is the expected one, which may contain placeholders.
fn has_form(expected: &str, text: &str) -> bool {
    const FORMS: &[(&str, &str)] = &[
        ("<iso>", "0000-00-00T00:00:00.000Z"),
        ("<uuid>", "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"),
        ("<objectid>", "hhhhhhhhhhhhhhhhhhhhhhhh"),
    ];
    match expected {
        "<jwt>" => is_jwt(text),
        "<checkout-url>" => text.starts_with("http://127.0.0.1:") && text.contains("/stripe-sandbox/"),
        "<stripe-sig>" => is_signature(text),
        _ => match FORMS.iter().find_map(|(placeholder, form)| Some((expected.split_once(placeholder)?, *form))) {
            None => expected == text,
            Some(((start, end), form)) => text.strip_prefix(start).is_some_and(|rest| {
                let split = rest.get(..form.len()).zip(rest.get(form.len()..));
                split.is_some_and(|(value, rest)| is_like(value, form) && has_form(end, rest))
            }),
        },
    }
}

/// Whether a text has a digit for each `0` of the form, a lower-case hexadecimal digit for each `h`, and otherwise the
/// form's own characters.
fn is_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(c, form)| match form {
            '0' => c.is_ascii_digit(),
            'h' => c.is_ascii_digit() || matches!(c, 'a'..='f'),
            _ => c == form,
        })
}

/// `t=SECONDS,v1=HEX`.
fn is_signature(text: &str) -> bool {
    let parts = text.strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
    parts.is_some_and(|(t, v1)| t.parse::<u64>().is_ok() && is_like(v1, &"h".repeat(64)))
}

/// Whether a text is a token that is signed with HS256 and valid for two hours.
fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let &[header, claims, signature] = parts.as_slice() else { return false };
    let decode = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let (Some(header), Some(claims)): (Option<Value>, Option<Value>) = (decode(header), decode(claims)) else {
        return false;
    };
    let time = |claim: &str| claims[claim].as_u64();
    header["alg"] == "HS256"
        && time("exp").zip(time("iat")).is_some_and(|(exp, iat)| exp == iat + 7200)
        && signature.len() == 43
}
