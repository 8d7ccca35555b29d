//! Tokens that this instance has read before. A browser sends its token with every request for up to two hours, and each
//! time it would be checked and decoded anew. What changes with time or with the account is never kept: `Signer::read`
//! compares the dates again, and its caller reads the account.
//!
//! Only tokens whose signature is right are kept, so nobody can fill this with tokens of their own.

use serde::Deserialize;
use std::cell::RefCell;
use std::collections::HashMap;

/// The most tokens that are kept; the next one replaces them all. With their claims they take
/// less than 512 KiB, as no token is longer than 4 KiB.
pub(super) const MAX_TOKENS: usize = 64;

/// What is read of the claims of a token; the rest is for others.
#[derive(Clone, Deserialize)]
pub(super) struct ReadClaims {
    pub id: String,
    pub email: String,
    /// RFC 7519 lets it have a fraction.
    pub exp: f64,
    pub iat: Option<u64>,
    pub auth_time: Option<u64>,
    /// RFC 7519 lets it have a fraction.
    pub nbf: Option<f64>,
    #[serde(default)]
    pub generation: u64,
}

/// The tokens, with their claims.
#[derive(Default)]
pub(super) struct Known(RefCell<HashMap<String, ReadClaims>>);

impl Known {
    /// The claims of a token.
    pub(super) fn claims(&self, token: &str) -> Option<ReadClaims> {
        self.0.borrow().get(token).cloned()
    }

    /// Keeps a token whose signature is right.
    pub(super) fn keep(&self, token: &str, claims: &ReadClaims) {
        let mut tokens = self.0.borrow_mut();
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(token.to_owned(), claims.clone());
    }

    /// How many tokens are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}
