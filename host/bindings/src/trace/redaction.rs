//! Finds and removes the values of secret variables: in traces, in recordings, in what components print, and in the
//! reasons why calls and deliveries failed.
//!
//! A component seldom sends a secret as it is: a password is base64 in `Authorization: Basic`, percent-encoded in a
//! query or a form, and a list of bytes in an argument. So each secret is looked for in the forms that such places have.
//! What a component encrypts, compresses or cuts is not found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use std::fmt::Write as _;
use std::sync::Arc;

/// The text that replaces a secret value.
const HIDDEN: &str = "***";

/// The shortest text that is searched for: a shorter one often occurs by accident.
const MIN_FORM_BYTES: usize = 4;

/// The values to remove from texts.
///
/// It has no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct Redaction(Vec<String>);

impl Redaction {
    /// A redaction of `secrets` in all their forms. Of one with fewer than four bytes it has the plain one and JSON's.
    pub fn of<'s>(secrets: impl Iterator<Item = &'s str>) -> Self {
        Redaction::default().and(secrets)
    }

    /// Adds these secrets.
    #[must_use]
    pub(crate) fn and<'s>(self, secrets: impl Iterator<Item = &'s str>) -> Self {
        let mut hidden = self.0;
        for secret in secrets.filter(|secret| !secret.is_empty()) {
            hidden.push(secret.to_owned());
            hidden.extend(escaped_forms(secret));
            if secret.len() >= MIN_FORM_BYTES {
                let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
                hidden.extend([bytes.join(","), bytes.join(", "), hex::encode(secret), hex::encode_upper(secret)]);
                hidden.extend(percent_forms(secret));
                hidden.extend(base64_forms(secret));
            }
        }
        // The longest first, because one may be the beginning of another. Most secrets have no character that JSON or a
        // URL escapes.
        hidden.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        hidden.dedup();
        Redaction(hidden)
    }

    /// `text` with `***` in place of these values.
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| match text.contains(secret) {
            true => text.replace(secret, HIDDEN),
            false => text,
        })
    }

    /// How many bytes at the end of `text` are the beginning of one of these values, which may go on after it.
    fn part_at_end(&self, text: &str) -> usize {
        let part =
            |secret: &String| (1..secret.len()).rev().find(|n| secret.get(..*n).is_some_and(|it| text.ends_with(it)));
        self.0.iter().filter_map(part).max().unwrap_or(0)
    }

    /// Whether `text` contains one of these values.
    pub(crate) fn finds_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret))
    }
}

/// The redaction that an application uses now, for everything that outlives a reload; cheap to clone.
#[derive(Clone, Default)]
pub struct SharedRedaction(Arc<RwLock<Redaction>>);

impl SharedRedaction {
    /// Removes these values from now on, instead of those before.
    pub fn set(&self, secrets: Redaction) {
        *self.0.write() = secrets;
    }

    /// As [`Redaction::apply`].
    pub fn apply(&self, text: &str) -> String {
        self.0.read().apply(text)
    }

    /// The beginning of `text` without these values, for a reader that keeps at most `kept` bytes of it: a component's
    /// text may have megabytes, and is searched for each form of each secret. The beginning is longer than what is
    /// kept, so that a secret at the end of that is found as a whole.
    pub fn beginning(&self, text: &str, kept: usize) -> String {
        let hidden = self.0.read();
        let end = text.floor_char_boundary(kept.saturating_mul(8));
        let mut beginning = text.get(..end).unwrap_or_default();
        if end < text.len() {
            // It may end with a part of a secret.
            let whole = beginning.len().saturating_sub(hidden.part_at_end(beginning));
            beginning = beginning.get(..whole).unwrap_or_default();
        }
        hidden.apply(beginning)
    }
}

/// A secret as JSON writes it, and as JSON writes a text that is JSON itself, for example the body of a request in a
/// recording. They differ from the secret where it has quotes or line ends, as a private key does.
fn escaped_forms(secret: &str) -> [String; 2] {
    let once = escaped(secret);
    let twice = escaped(&once);
    [once, twice]
}

/// JSON's text without the quotes.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// The characters besides letters and digits that encoders leave as they are: those that RFC 3986 calls unreserved,
/// those of `encodeURIComponent`, of forms, of a URL's path and its query, and none.
const LEFT_ALONE: [&str; 6] = ["-._~", "-_.!~*'()", "-._*", "-._~!$&'()*+,;=:@/", "-._~!$&'()*+,;=:@/?", ""];

/// A secret in URLs and forms.
fn percent_forms(secret: &str) -> impl Iterator<Item = String> {
    LEFT_ALONE.into_iter().flat_map(move |left| {
        let upper = percent_encoded(secret, left);
        // Forms write a space as `+`.
        let form = upper.replace("%20", "+");
        let lower = percent_encoded_lower(secret, left);
        [upper, form, lower]
    })
}

fn percent_encoded(secret: &str, left: &str) -> String {
    encoded(secret, left, |text, byte| write!(text, "%{byte:02X}"))
}

fn percent_encoded_lower(secret: &str, left: &str) -> String {
    encoded(secret, left, |text, byte| write!(text, "%{byte:02x}"))
}

fn encoded(secret: &str, left: &str, encode: impl Fn(&mut String, u8) -> std::fmt::Result) -> String {
    let mut text = String::new();
    for byte in secret.bytes() {
        match char::from(byte) {
            char if char.is_ascii_alphanumeric() || left.contains(char) => text.push(char),
            _ => {
                // Writing to a `String` never fails.
                let _ = encode(&mut text, byte);
            }
        }
    }
    text
}

/// The part of a base64 text that depends on the secret alone, for each place that it can have in a group of three
/// bytes: in `Authorization: Basic` a name stands before it.
fn base64_forms(secret: &str) -> impl Iterator<Item = String> {
    [0_usize, 1, 2].into_iter().flat_map(move |before| {
        let bytes = [vec![0; before], secret.as_bytes().to_vec()].concat();
        // A character has six bits. The first ones also have bits of what stands before, the last one of what follows.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let whole = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
        let is_long = |form: &&str| form.len() >= MIN_FORM_BYTES;
        whole.into_iter().filter_map(move |text| text.get(first..end).filter(is_long).map(str::to_owned))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    #[test]
    fn a_secret_is_left_out_as_it_is_and_as_json_writes_it() {
        let redaction = Redaction::of(["sk_1", "sk_12", "a\"b\n", ""].into_iter());
        let json = serde_json::json!({ "key": "sk_12", "other": "xa\"b\ny", "id": 7 }).to_string();
        assert_eq!(redaction.apply(&json), r#"{"id":7,"key":"***","other":"x***y"}"#);
        assert_eq!(redaction.apply("sk_1 a\"b\n"), "*** ***");
        let inner = serde_json::json!({ "other": "xa\"b\ny" }).to_string();
        let outer = serde_json::json!({ "body": inner }).to_string();
        assert_eq!(redaction.apply(&outer), r#"{"body":"{\"other\":\"x***y\"}"}"#);
    }

    #[test]
    fn a_secret_is_left_out_of_base64_wherever_it_stands_in_it() {
        let secret = "p\u{e4}ss>word?~1";
        let redaction = Redaction::of([secret].into_iter());
        for user in ["", "a", "ab", "abc", "souk-user"] {
            for after in ["", "\n", ":x", "and more"] {
                let plain = format!("{user}{secret}{after}");
                for text in [STANDARD.encode(&plain), URL_SAFE.encode(&plain), STANDARD_NO_PAD.encode(&plain)] {
                    let shown = redaction.apply(&text);
                    assert!(shown.contains(HIDDEN), "{plain}: {shown}");
                    // At most one character at each side remains that has bits of the secret.
                    let hidden = secret.len() * 8 / 6 - 2;
                    assert!(shown.len() <= HIDDEN.len() + text.len() - hidden, "{plain}: {shown}");
                }
            }
        }
    }

    #[test]
    fn a_secret_is_left_out_of_urls_and_forms() {
        let redaction = Redaction::of(["a b/c+d&e=\u{e9}!"].into_iter());
        for text in [
            "?key=a%20b%2Fc%2Bd%26e%3D%C3%A9%21",
            "?key=a%20b%2fc%2bd%26e%3d%c3%a9%21",
            "?key=a%20b%2Fc%2Bd%26e%3D%C3%A9!",
            "?key=a+b%2Fc%2Bd%26e%3D%C3%A9%21",
            "?key=a%20b/c+d&e=%C3%A9!",
        ] {
            assert_eq!(redaction.apply(text), "?key=***", "{text}");
        }
    }

    #[test]
    fn a_secret_is_left_out_of_lists_of_bytes_and_hexadecimal_digits() {
        let redaction = Redaction::of(["sk_1"].into_iter());
        for (text, shown) in [
            ("[1,115,107,95,49,2]", "[1,***,2]"),
            ("[115, 107, 95, 49]", "[***]"),
            ("736b5f31", "***"),
            ("736B5F31", "***"),
        ] {
            assert_eq!(redaction.apply(text), shown);
        }
    }

    #[test]
    fn a_secret_at_the_end_of_what_is_kept_of_a_text_is_left_out_as_a_whole() {
        let shared = SharedRedaction::default();
        let text = format!("{}sk_live_1 {}", "x".repeat(1020), "y".repeat(1 << 20));
        assert!(shared.beginning(&text, 1024).contains("sk_live_1"));
        shared.set(Redaction::of(["sk_live_1"].into_iter()));
        let shown = shared.beginning(&text, 1024);
        assert!(shown.starts_with(&format!("{}*** yy", "x".repeat(1020))), "{shown}");
        assert!((1024..16 << 10).contains(&shown.len()), "{}", shown.len());
        assert_eq!(shared.beginning("\u{e4}", 0), "");
        // A secret that is longer than all that is looked at, as private keys may be.
        let key = "k".repeat(1700);
        shared.set(Redaction::of([key.as_str()].into_iter()));
        let text = format!("wrong: {key} {}", "y".repeat(100_000));
        assert_eq!(shared.beginning(&text, 200), "wrong: ");
        assert!(shared.beginning(&text, 1024).starts_with("wrong: *** yy"));
        // What is moved up by the marks of others is no part of one.
        let text = format!("{}{}", "sk_live_1".repeat(178), key);
        shared.set(Redaction::of(["sk_live_1", key.as_str()].into_iter()));
        assert_eq!(shared.beginning(&text, 200), "***".repeat(177));
    }

    #[test]
    fn a_short_secret_hides_nothing_that_only_resembles_one_of_its_forms() {
        let redaction = Redaction::of(["x"].into_iter());
        assert_eq!(redaction.apply(r#"{"x":120,"eA":"%78","bytes":[120]}"#), r#"{"***":120,"eA":"%78","bytes":[120]}"#);
    }
}
