//! Password hashes: argon2id for new ones. The bcrypt hashes of accounts from older systems are checked and reported as
//! outdated.
//!
//! The parameters are OWASP's: 19 MiB, 2 passes, 1 lane, the default of the `argon2` crate (a test checks that).
//!
//! argon2id reads the whole password, bcrypt only the first 72 bytes. A password of 72 bytes or more that fits a bcrypt
//! hash may be another one with the same beginning. Such a hash is never reported as outdated, because its replacement
//! would store the rest of a password that nobody has proved.
//!
//! An unknown user costs one argon2id hash, like a known one. A user who was imported with bcrypt or with other
//! parameters costs one hash of that kind, until their next login replaces it. That difference can be measured, and no
//! added work could hide it without doubling the work of every login.
//!
//! Refused: a hash that needs more memory than a current one, or so much time that checking it would delay others.

use crate::bindings::passwords::{Error, Outcome};
use argon2::password_hash::Error as HashError;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier};
use bcrypt::HashParts;

/// How a hash begins that [`hash`] makes.
const CURRENT: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// The hash that the password of an unknown user is compared with: of a random text that nobody knows.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$MXa7LtrSc5FBHcfSEHNCug$iuFl8LVd1/hryBHfvkRDB9tnMqnSpKDpqiUkBIs45p8";
/// The most passes of an argon2id hash: five times the work of a current one.
const MAX_PASSES: u32 = 10;
/// The highest cost of a bcrypt hash, about a second of work; usual costs are 10 to 12.
const MAX_COST: u32 = 14;
/// How much of a password bcrypt reads, in bytes.
const BCRYPT_READS: usize = 72;

/// A hash that can be checked. It has no `Debug`: hashes must not reach the log.
pub(crate) enum Hash<'a> {
    /// `$2a$`, `$2b$` or `$2y$`: one function under three names.
    Bcrypt(&'a str),
    /// A PHC string with salt and hash.
    Argon2id(Box<PasswordHash>),
}

impl<'a> Hash<'a> {
    /// Reads a hash and refuses one that would be too much work.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        let refused = |reason: &str| Error::Invalid(format!("the password hash {reason}"));
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: HashParts = text.parse().map_err(|_| refused("is malformed bcrypt"))?;
            return match parts.get_cost() {
                4..=MAX_COST => Ok(Hash::Bcrypt(text)),
                cost => Err(refused(&format!("has bcrypt cost {cost}, not one from 4 to {MAX_COST}"))),
            };
        }
        let hash = PasswordHash::new(text)
            .ok()
            .filter(|hash| hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some())
            .ok_or_else(|| refused("must be argon2id (a PHC string) or bcrypt ($2a$, $2b$, $2y$)"))?;
        let params = Params::try_from(&hash).map_err(|_| refused("has parameters that argon2id does not have"))?;
        if params.m_cost() > Params::DEFAULT_M_COST {
            return Err(refused(&format!("needs {} KiB, more than {}", params.m_cost(), Params::DEFAULT_M_COST)));
        }
        if params.t_cost() > MAX_PASSES {
            return Err(refused(&format!("needs {} passes, more than {MAX_PASSES}", params.t_cost())));
        }
        Ok(Hash::Argon2id(Box::new(hash)))
    }

    /// Whether this is the hash of a password.
    fn is_of(&self, password: &str) -> Result<bool, Error> {
        match self {
            Hash::Bcrypt(hash) => bcrypt::verify(password, hash).map_err(|error| fault(&error)),
            Hash::Argon2id(hash) => match Argon2::default().verify_password(password.as_bytes(), hash.as_ref()) {
                Ok(()) => Ok(true),
                Err(HashError::PasswordInvalid) => Ok(false),
                Err(error) => Err(fault(&error)),
            },
        }
    }
}

/// The hash to store for a password, a PHC string with a fresh salt.
pub(crate) fn hash(password: &str) -> Result<String, Error> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| fault(&error))
}

/// Compares a password with a hash. Without a hash, because there is no such user, it does the work of a current hash
/// and answers `wrong`.
pub(crate) fn check(password: &str, hash: Option<&str>) -> Result<Outcome, Error> {
    let is_right = Hash::parse(hash.unwrap_or(NOBODY))?.is_of(password)?;
    Ok(match hash.filter(|_| is_right) {
        None => Outcome::Wrong,
        Some(hash) if hash.starts_with(CURRENT) => Outcome::Right,
        Some(hash) if hash.starts_with("$2") && password.len() >= BCRYPT_READS => Outcome::Right,
        Some(_) => Outcome::RightAndOutdated,
    })
}

/// A hash that was parsed, but that the library still cannot use. The libraries' errors repeat neither hash nor
/// password.
fn fault(error: &dyn std::fmt::Display) -> Error {
    eprintln!("a password cannot be hashed or checked: {error}");
    Error::Internal("passwords cannot be hashed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    fn outcome(password: &str, hash: &str) -> Outcome {
        check(password, Some(hash)).unwrap()
    }

    fn refusal(hash: &str) -> String {
        // `parse` and `check` must refuse the same hashes.
        let checked = check("Abc123!x", Some(hash));
        match (Hash::parse(hash), checked) {
            (Err(Error::Invalid(one)), Err(Error::Invalid(other))) if one == other => one,
            _ => panic!("accepted: {hash}"),
        }
    }

    #[test]
    fn a_password_is_hashed_with_owasps_parameters_and_its_own_salt() {
        let (one, two) = (hash("Abc123!x").unwrap(), hash("Abc123!x").unwrap());
        assert!(one.starts_with(CURRENT), "{one}");
        assert_ne!(one, two);
        assert_eq!((outcome("Abc123!x", &one), outcome("Abc123!x", &two)), (Outcome::Right, Outcome::Right));
        assert_eq!(outcome("Abc123!y", &one), Outcome::Wrong);
    }

    #[test]
    fn every_byte_of_a_long_password_counts() {
        let long = "Aa1!".repeat(30);
        let hash = hash(&long).unwrap();
        assert_eq!(outcome(&long, &hash), Outcome::Right);
        assert_eq!(outcome(&format!("{}x", &long[..119]), &hash), Outcome::Wrong);
        assert_eq!(outcome(&long[..72], &hash), Outcome::Wrong);
    }

    #[test]
    fn an_unknown_user_costs_the_same_argon2id_and_never_has_the_right_password() {
        assert!(NOBODY.starts_with(CURRENT));
        assert!(matches!(Hash::parse(NOBODY), Ok(Hash::Argon2id(_))));
        assert_eq!(check("Abc123!x", None).unwrap(), Outcome::Wrong);
        assert_eq!(outcome("Abc123!x", NOBODY), Outcome::Wrong);
    }

    #[test]
    fn bcrypt_hashes_of_every_prefix_are_checked_and_outdated() {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = BCRYPT.replace("$2b$", prefix);
            assert_eq!(outcome("correctbatteryhorsestapler", &hash), Outcome::RightAndOutdated);
            assert_eq!(outcome("correctbatteryhorsestaple", &hash), Outcome::Wrong);
        }
    }

    #[test]
    fn a_bcrypt_hash_is_not_outdated_for_a_password_of_72_bytes_or_more() {
        let long = "Aa1!".repeat(20);
        let hash = bcrypt::hash(&long, 4).unwrap();
        for right in [long.clone(), format!("{}OTHERXXX", &long[..72]), long[..72].to_owned()] {
            assert_eq!(outcome(&right, &hash), Outcome::Right, "{right}");
        }
        let whole = bcrypt::hash(&long[..71], 4).unwrap();
        assert_eq!(outcome(&long[..71], &whole), Outcome::RightAndOutdated);
        assert_eq!(outcome(&long[..71], &hash), Outcome::Wrong);
    }

    #[test]
    fn other_parameters_are_checked_and_outdated() {
        for params in [(8, 1, 1), (7168, 5, 1), (64, 2, 4)] {
            let other = Argon2::from(Params::new(params.0, params.1, params.2, None).unwrap());
            let hash: PasswordHash = other.hash_password(b"Abc123!x").unwrap();
            let hash = hash.to_string();
            assert_eq!(outcome("Abc123!x", &hash), Outcome::RightAndOutdated, "{params:?}");
            assert_eq!(outcome("Abc123!y", &hash), Outcome::Wrong, "{params:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_hash_is_refused_and_is_not_a_wrong_password() {
        for text in [
            "",
            "plain text",
            "$2x$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=19456,t=2,p=1$MXa7LtrSc5FBHcfSEHNCug",
            &NOBODY.replace("argon2id", "argon2i"),
            &NOBODY.replace("argon2id", "argon2d"),
            &NOBODY.replace("argon2id", "scrypt"),
        ] {
            assert_eq!(
                refusal(text),
                "the password hash must be argon2id (a PHC string) or bcrypt ($2a$, $2b$, $2y$)",
                "{text}"
            );
        }
        for text in ["$2b$04$short", &format!("{BCRYPT}x"), &BCRYPT.replace("$04$", "$xx$"), &BCRYPT.replace('x', "ä")]
        {
            assert_eq!(refusal(text), "the password hash is malformed bcrypt", "{text}");
        }
        assert_eq!(
            refusal(&NOBODY.replace("m=19456", "m=1")),
            "the password hash has parameters that argon2id does not have"
        );
    }

    #[test]
    fn a_hash_that_asks_for_too_much_work_is_refused_before_any_is_done() {
        for cost in ["00", "03", "15", "31", "99"] {
            let reason = refusal(&BCRYPT.replace("$04$", &format!("${cost}$")));
            assert!(reason.ends_with("not one from 4 to 14"), "{reason}");
        }
        assert_eq!(
            refusal(&NOBODY.replace("m=19456", "m=19457")),
            "the password hash needs 19457 KiB, more than 19456"
        );
        assert_eq!(refusal(&NOBODY.replace("t=2", "t=11")), "the password hash needs 11 passes, more than 10");
        assert!(Hash::parse(&BCRYPT.replace("$04$", "$14$")).is_ok());
        assert!(Hash::parse(&NOBODY.replace("t=2", "t=10")).is_ok());
    }

    #[test]
    fn a_refusal_does_not_repeat_the_hash() {
        let reasons = [BCRYPT.replace("$04$", "$31$"), NOBODY.replace("t=2", "t=99"), "$2b$04$SECRET".to_owned()];
        for hash in reasons {
            let reason = refusal(&hash);
            assert!(!["EGdrh", "MXa7", "iuFl", "SECRET"].iter().any(|part| reason.contains(part)), "{reason}");
        }
    }
}
