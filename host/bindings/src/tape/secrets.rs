//! The values of secret variables, which no recording may contain.

use crate::trace::Redaction;

/// The shortest value that is searched for in results: a shorter one often occurs by accident.
const MIN_SECRET_BYTES: usize = 4;

/// The values of an application's secret variables.
///
/// It has no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct Secrets(Redaction);

impl Secrets {
    /// Secrets with these values. They are found in all forms that [`Redaction`] knows.
    pub fn of<'s>(values: impl Iterator<Item = &'s str>) -> Self {
        Secrets::default().and(values)
    }

    /// Adds these values.
    #[must_use]
    pub fn and<'s>(self, values: impl Iterator<Item = &'s str>) -> Self {
        Secrets(self.0.and(values.filter(|value| value.len() >= MIN_SECRET_BYTES)))
    }

    /// Whether `text` contains one of them.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.finds_in(text)
    }

    /// `text` with the values replaced.
    pub fn hide(&self, text: &str) -> String {
        self.0.apply(text)
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
            // `user:sk_"1`, as in `Authorization: Basic`.
            "Basic dXNlcjpza18iMQ==".to_owned(),
            "/pay?key=sk_%221".to_owned(),
        ] {
            assert!(secrets.are_in(&text), "{text}");
            assert!(!secrets.are_in(&secrets.hide(&text)), "{text}");
        }
        assert!(!secrets.are_in("abc"));
    }
}
