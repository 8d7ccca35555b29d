//! Entity tags as Express makes them: weak, from the body's length and SHA-1. No client asks for a webhook's answer
//! again; they are here because the recorded answers have them.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_weak_and_made_of_length_and_digest() {
        // Express's tag of an empty JSON object, which the web is full of.
        assert_eq!(of(b"{}"), "W/\"2-vyGp6PvFo4RvsFtPoIWeCReyIC8\"");
    }
}
