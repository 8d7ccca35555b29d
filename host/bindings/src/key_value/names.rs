//! Encodes keys for NATS, which allows `[-/_=.a-zA-Z0-9]+`; a `.` separates tokens, so two dots may not stand together.
//!
//! Letters, digits, `-`, `_` and `/` stand for themselves, so most keys can be read in the bucket; every other byte
//! becomes `=` and two hexadecimal digits, and the empty key becomes `=`. Each key has exactly one name, and each such
//! name exactly one key. A name of another form, which another program wrote, is not a key of the store.

use std::fmt::Write as _;

const EMPTY: &str = "=";

/// The name of `key`.
pub(super) fn encode(key: &str) -> String {
    if key.is_empty() {
        return EMPTY.to_owned();
    }
    let mut name = String::with_capacity(key.len() + 8);
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/') {
            name.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(name, "={byte:02X}");
        }
    }
    name
}

/// The key with this name; `None` if no key has it.
pub(super) fn decode(name: &str) -> Option<String> {
    if name == EMPTY {
        return Some(String::new());
    }
    let mut parts = name.split('=');
    let mut key = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        key.push(u8::from_str_radix(digits, 16).ok()?);
        key.extend_from_slice(rest.as_bytes());
    }
    // This rejects every other irregular form, such as a `.` or an encoded letter: the key that it stands for has
    // another name.
    String::from_utf8(key).ok().filter(|key| !key.is_empty() && encode(key) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn most_keys_can_be_read_in_the_bucket() {
        for (key, name) in [
            ("session/4f-a_B", "session/4f-a_B"),
            ("", "="),
            ("ann@example.com", "ann=40example=2Ecom"),
            ("..", "=2E=2E"),
            ("=", "=3D"),
            ("* >", "=2A=20=3E"),
            ("é", "=C3=A9"),
        ] {
            assert_eq!(encode(key), name);
            assert_eq!(decode(name).as_deref(), Some(key));
        }
    }

    #[test]
    fn what_another_program_named_is_no_key() {
        for name in ["", "a.b", "a=", "a=4", "=40=", "=c3=A9", "=41", "=ZZ", "=+1", "=C3", "é", "==", "a=é"] {
            assert_eq!(decode(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_a_name_that_nats_takes_and_comes_back(key in "\\PC{0,80}|[.=@ *>\\x00-\\x1f]{0,40}") {
            let name = encode(&key);
            let taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '=');
            prop_assert!(!name.is_empty() && name.chars().all(taken));
            prop_assert_eq!(decode(&name), Some(key));
        }

        #[test]
        fn a_name_that_has_a_key_is_the_name_of_that_key(name in "[-/_=a-fA-F0-9.]{0,12}") {
            if let Some(key) = decode(&name) {
                prop_assert_eq!(encode(&key), name);
            }
        }
    }
}
