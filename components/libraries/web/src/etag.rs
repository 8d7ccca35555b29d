//! Entity tags like Express's: weak, from the body's length and SHA-1, so that the tags in clients' caches stay valid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha1::{Digest, Sha1};

/// The tag of a body: `W/"<length in hex>-<SHA-1 in base64>"`.
pub fn of(body: &[u8]) -> String {
    let mut tag = format!("W/\"{:x}-", body.len());
    STANDARD_NO_PAD.encode_string(Sha1::digest(body), &mut tag);
    tag.push('"');
    tag
}

/// Whether an `If-None-Match` header names `tag`, by the weak comparison of RFC 9110 section 13.1.2.
pub fn matches(if_none_match: &str, tag: &str) -> bool {
    let tag = opaque(tag);
    if_none_match.trim() == "*" || if_none_match.split(',').any(|candidate| opaque(candidate) == tag)
}

/// A tag without the prefix `W/`.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":1,"name":"Teclado","price":75.25,"available":true,"createdAt":"2024-02-27T15:50:27.545Z","updatedAt":"2024-02-27T15:50:27.545Z"}"#;

    #[test]
    fn the_recorded_body_has_the_recorded_tag() {
        assert_eq!(of(BODY.as_bytes()), "W/\"86-KXhe5yuE9VMkoija1+EELTuPETU\"");
    }

    #[test]
    fn a_list_a_star_and_a_strong_form_match() {
        let tag = of(BODY.as_bytes());
        assert!(matches(&tag, &tag));
        assert!(matches(&format!("\"a\", {tag}"), &tag));
        assert!(matches("*", &tag));
        assert!(matches("\"86-KXhe5yuE9VMkoija1+EELTuPETU\"", &tag));
        assert!(!matches("W/\"86-other\"", &tag));
        assert!(!matches("", &tag));
    }
}
