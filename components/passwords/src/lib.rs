//! Passwords: exports `store:auth/passwords`, and is granted nothing.
//!
//! A hash takes 19 MiB and all of a processor, on purpose. Here that happens in a few instances, whose number bounds the
//! memory, while those who wait for their turn wait in small ones of the accounts' and keep nobody else from an answer.
//! What comes in is a password and what goes out is a hash: there is no store, no variable and no network to give away.

mod bindings;
mod hash;

use bindings::passwords::{Error, Guest, Outcome};
use hash::Hash;

/// The component. It remembers nothing between calls.
struct Passwords;

impl Guest for Passwords {
    fn hash(password: String) -> Result<String, Error> {
        hash::hash(&password)
    }

    fn check(password: String, hash: Option<String>) -> Result<Outcome, Error> {
        hash::check(&password, hash.as_deref())
    }

    fn validate(hash: String) -> Result<(), Error> {
        Hash::parse(&hash).map(drop)
    }
}
