//! The values of secret variables, which no recording may contain.

use crate::trace::{Redaction, escaped_forms};

/// The shortest value that is searched for in results: a shorter one often occurs by accident.
const MIN_SECRET_BYTES: usize = 4;

/// The values of an application's secret variables.
///
/// It has no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct Secrets {
    values: Vec<String>,
    hidden: Redaction,
}

impl Secrets {
    /// Secrets with these values. They are found as plain text, as escaped JSON text (also within JSON), and as lists of
    /// bytes.
    pub fn of<'s>(values: impl Iterator<Item = &'s str>) -> Self {
        Secrets::default().and(values)
    }

    /// Adds these values.
    #[must_use]
    pub fn and<'s>(self, values: impl Iterator<Item = &'s str>) -> Self {
        let mut forms = self.values;
        for value in values.filter(|value| value.len() >= MIN_SECRET_BYTES) {
            let bytes: Vec<String> = value.bytes().map(|byte| byte.to_string()).collect();
            forms.extend(escaped_forms(value));
            forms.extend([value.to_owned(), bytes.join(","), bytes.join(", "), hex::encode(value)]);
        }
        // Most values have no character that JSON escapes.
        forms.sort_unstable();
        forms.dedup();
        Secrets { hidden: Redaction::of(forms.iter().map(String::as_str)), values: forms }
    }

    /// Whether `text` contains one of them.
    pub fn are_in(&self, text: &str) -> bool {
        self.values.iter().any(|value| text.contains(value))
    }

    /// `text` with the values replaced.
    pub fn hide(&self, text: &str) -> String {
        self.hidden.apply(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_text_as_json_and_as_bytes() {
        let secrets = Secrets::of(["sk_\"1", "abc"].into_iter());
        let bytes: Vec<u8> = b"key sk_\"1!".to_vec();
        for text in [
            "a sk_\"1 b".to_owned(),
            serde_json::json!({ "key": "sk_\"1" }).to_string(),
            serde_json::json!({ "body": serde_json::json!({ "key": "sk_\"1" }).to_string() }).to_string(),
            serde_json::to_string(&bytes).unwrap(),
            format!("{bytes:?}"),
        ] {
            assert!(secrets.are_in(&text), "{text}");
            assert!(!secrets.are_in(&secrets.hide(&text)), "{text}");
        }
        assert!(!secrets.are_in("abc"));
    }
}
