//! Identifiers like Stripe's, with a prefix for the kind of object and a random part that cannot be guessed; and the
//! clock.

use spin_sdk::wasip3::random::random::get_random_u64;
use std::time::{SystemTime, UNIX_EPOCH};

/// A new identifier with 128 random bits, such as `evt_` and 32 digits.
pub(crate) fn new(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", get_random_u64(), get_random_u64())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(i64::MAX)
}

/// Whether a text from a URL can be one of our identifiers with this prefix; any other text is unknown without a
/// lookup.
pub(crate) fn plausible(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_prefix_and_32_digits_can_be_an_id() {
        assert!(plausible("cs_test_0123456789abcdef0123456789abcdef", "cs_test_"));
        for id in ["", "cs_test_", "cs_test_../../etc", "ch_0123456789abcdef0123456789abcdef"] {
            assert!(!plausible(id, "cs_test_"), "{id}");
        }
    }
}
