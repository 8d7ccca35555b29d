//! Removes the values of secret variables from traces.

/// The text that replaces a secret value.
const HIDDEN: &str = "***";

/// The values to remove from texts.
///
/// It has no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct Redaction(Vec<String>);

impl Redaction {
    /// A redaction of `secrets`, in plain form and in JSON's escaped forms.
    pub fn of<'s>(secrets: impl Iterator<Item = &'s str>) -> Self {
        let mut hidden: Vec<String> = Vec::new();
        for secret in secrets.filter(|secret| !secret.is_empty()) {
            hidden.push(secret.to_owned());
            hidden.extend(escaped_forms(secret));
        }
        // The longest first, because one may be the beginning of another.
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
}

/// A secret as JSON writes it, and as JSON writes a text that is JSON itself, for example the body of a request in a
/// recording. They differ from the secret where it has quotes or line ends, as a private key does.
pub(crate) fn escaped_forms(secret: &str) -> [String; 2] {
    let once = escaped(secret);
    let twice = escaped(&once);
    [once, twice]
}

/// JSON's text without the quotes.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
