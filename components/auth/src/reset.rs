//! Reset tokens: the user's id, a dash and a secret of 32 random bytes in hexadecimal. The account keeps only the
//! SHA-256 of that hexadecimal text, so that a reader of the store cannot use it. An account has at most one reset
//! token.

use crate::account::{Account, Reset};
use crate::bindings::accounts::Error;
use crate::store::fault;
use sha2::{Digest, Sha256};

/// How long a reset token can be used, in seconds.
const LIFETIME_SECONDS: u64 = 60 * 60;

/// A new secret, and what the account keeps of it.
pub(crate) fn make(now: u64) -> Result<(String, Reset), Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| fault(&format!("no random bytes available: {error}")))?;
    let secret = hex::encode(bytes);
    let kept = Reset { hash: hash(&secret), until: now + LIFETIME_SECONDS };
    Ok((secret, kept))
}

/// The token for the user.
pub(crate) fn token(id: &str, secret: &str) -> String {
    format!("{id}-{secret}")
}

/// The user id and the secret in a token.
pub(crate) fn split(token: &str) -> Option<(&str, &str)> {
    token.split_once('-').filter(|(id, secret)| id.len() == 24 && secret.len() == 64)
}

/// Whether `secret` resets the password of this account at `now`. It compares hashes, so the time of the comparison
/// reveals nothing about the secret.
pub(crate) fn is_valid(account: &Account, secret: &str, now: u64) -> bool {
    account.is_open() && account.reset.as_ref().is_some_and(|reset| now < reset.until && reset.hash == hash(secret))
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_an_hour_and_only_while_its_account_is_open() {
        let ann = Account::new("Ann".into(), "ann@example.com".into(), "$2b$".into(), 1000).unwrap();
        let (secret, kept) = make(1000).unwrap();
        let token = token(&ann.id, &secret);
        assert_eq!(split(&token), Some((ann.id.as_str(), secret.as_str())));
        assert!(!serde_json::to_string(&kept).unwrap().contains(&secret));
        let ann = Account { reset: Some(kept), ..ann };
        assert!(is_valid(&ann, &secret, 1000 + 3599));
        assert!(!is_valid(&ann, &secret, 1000 + 3600));
        assert!(!is_valid(&ann, &make(1000).unwrap().0, 1000));
        assert!(!is_valid(&Account { disabled: true, ..ann.clone() }, &secret, 1000));
        assert!(!is_valid(&ann.without_tokens(), &secret, 1000), "a new password, role or log-out ends it");
        for none in ["", "-", "abc", &secret, &token[1..], &format!("{token}0")] {
            assert_eq!(split(none), None, "{none}");
        }
    }
}
