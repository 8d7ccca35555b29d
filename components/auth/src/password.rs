//! Passwords: argon2id for new ones; bcrypt, which the accounts of the store's predecessor have, is verified and then
//! replaced.
//!
//! The parameters are OWASP's: 19 MiB, 2 passes, 1 lane, the default of the `argon2` crate (a test holds it to that).
//! The whole password counts, where bcrypt reads 72 bytes. An unknown user costs one argon2id like a known one. A user
//! with a bcrypt hash costs one bcrypt instead, until their next login replaces it: that difference can be measured,
//! and no work that is added could hide it without doubling everybody's.

use crate::bindings::accounts::Error;
use argon2::password_hash::Error as HashError;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};

/// How a hash begins that [`hash`] has made.
const CURRENT: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// The hash that the password of an unknown user is compared with, of a random text that nobody has kept.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$MXa7LtrSc5FBHcfSEHNCug$iuFl8LVd1/hryBHfvkRDB9tnMqnSpKDpqiUkBIs45p8";

/// The hash to store for a password, a PHC string with a fresh salt.
pub fn hash(password: &str) -> Result<String, Error> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| {
        eprintln!("a password could not be hashed: {error}");
        Error::Internal("accounts cannot hash a password".into())
    })
}

/// Whether a password is the one that was hashed. Without a hash, as there is no user, it works as long and says no.
pub fn verify(password: &str, hash: Option<&str>) -> Result<bool, Error> {
    match hash {
        Some(hash) if is_bcrypt(hash) => bcrypt::verify(password, hash).map_err(|error| unreadable(&error)),
        Some(hash) => argon2id(password, hash),
        None => argon2id(password, NOBODY).map(|_| false),
    }
}

/// Whether a hash was made in another way than [`hash`] makes them today.
pub fn is_outdated(hash: &str) -> bool {
    !hash.starts_with(CURRENT)
}

fn argon2id(password: &str, hash: &str) -> Result<bool, Error> {
    match Argon2::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(unreadable(&error)),
    }
}

fn is_bcrypt(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix))
}

/// A stored hash that this component did not write.
fn unreadable(error: &dyn std::fmt::Display) -> Error {
    eprintln!("a stored password hash cannot be verified: {error}");
    Error::Internal("accounts cannot verify the password".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(password: &str, hash: &str) -> bool {
        verify(password, Some(hash)).unwrap()
    }

    #[test]
    fn a_password_is_hashed_with_owasps_parameters_and_its_own_salt() {
        let (one, two) = (hash("Abc123!x").unwrap(), hash("Abc123!x").unwrap());
        assert!(one.starts_with(CURRENT) && !is_outdated(&one), "{one}");
        assert_ne!(one, two);
        assert!(is_right("Abc123!x", &one) && is_right("Abc123!x", &two));
        assert!(!is_right("Abc123!y", &one));
    }

    #[test]
    fn every_byte_of_a_long_password_counts() {
        let long = "Aa1!".repeat(30);
        let hash = hash(&long).unwrap();
        assert!(is_right(&long, &hash));
        assert!(!is_right(&format!("{}x", &long[..119]), &hash));
        assert!(!is_right(&long[..72], &hash));
    }

    #[test]
    fn an_unknown_user_costs_the_same_argon2id_and_never_has_the_right_password() {
        assert!(!is_outdated(NOBODY));
        assert!(!verify("Abc123!x", None).unwrap());
        assert!(!is_right("Abc123!x", NOBODY));
    }

    #[test]
    fn bcrypt_hashes_of_every_prefix_are_verified_and_outdated() {
        let hash = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = hash.replace("$2b$", prefix);
            assert!(is_right("correctbatteryhorsestapler", &hash));
            assert!(!is_right("correctbatteryhorsestaple", &hash));
            assert!(is_outdated(&hash));
        }
    }

    #[test]
    fn bcrypt_reads_72_bytes_as_it_always_did() {
        let long = "Aa1!".repeat(20);
        let hash = bcrypt::hash(&long, 4).unwrap();
        assert!(is_right(&long, &hash));
        assert!(is_right(&format!("{}OTHERXXX", &long[..72]), &hash));
        assert!(!is_right(&long[..71], &hash));
    }

    #[test]
    fn older_parameters_are_verified_and_outdated() {
        let weak = argon2::Params::new(8, 1, 1, None).unwrap();
        let old: PasswordHash = Argon2::from(weak).hash_password(b"Abc123!x").unwrap();
        let old = old.to_string();
        assert!(is_right("Abc123!x", &old) && !is_right("Abc123!y", &old));
        assert!(is_outdated(&old));
    }

    #[test]
    fn a_hash_that_is_none_is_a_fault_and_not_a_wrong_password() {
        for broken in ["", "plain text", "$2b$04$short", "$2x$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie"]
        {
            assert!(matches!(verify("Abc123!x", Some(broken)), Err(Error::Internal(_))), "{broken}");
        }
    }
}
