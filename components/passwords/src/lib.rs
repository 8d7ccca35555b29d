//! Hashes and checks passwords: exports `store:auth/passwords`, and is granted nothing.
//!
//! A hash takes 19 MiB and all of a processor, on purpose. A few instances of this component do that work, so their
//! number bounds the memory. Calls that wait for their turn wait in small instances of auth, and delay no other answer.
//! A password comes in and a hash goes out: there is no store, variable or network through which a password could leak.

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
