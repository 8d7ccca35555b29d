//! Another component hashes and checks passwords (`store:auth/passwords`): that work needs memory and processor time.
//! Calls of this component stay small, so that many logins at once do not delay `verify`.
//!
//! A password is hashed in its NFKC form, so that an `é` is the same from every keyboard. Older accounts have the hash
//! of the password as it was typed: where the two forms differ both are tried, for unknown users too.

use crate::account::Account;
use crate::bindings::accounts::Error;
use crate::bindings::passwords::{self, Error as HashError};
use crate::text::nfkc;

pub(crate) use passwords::Outcome;

/// The hash to store for a password.
pub(crate) fn hash(password: &str) -> Result<String, Error> {
    passwords::hash(&nfkc(password)).map_err(to_auth_error)
}

/// Whether a password is that of an account. Without an account the answer is `wrong`, after the work of a current
/// hash.
///
/// # Errors
/// `internal` when the account's hash cannot be checked: an import refuses such hashes, so the store is damaged.
pub(crate) fn check(password: &str, account: Option<&Account>) -> Result<Outcome, Error> {
    let normal = nfkc(password);
    match check_one(&normal, account)? {
        // If only the text as typed is right, the hash is outdated, whatever its kind.
        Outcome::Wrong if normal != password => Ok(match check_one(password, account)? {
            Outcome::Wrong => Outcome::Wrong,
            Outcome::Right | Outcome::RightAndOutdated => Outcome::RightAndOutdated,
        }),
        outcome => Ok(outcome),
    }
}

fn check_one(password: &str, account: Option<&Account>) -> Result<Outcome, Error> {
    let hash = account.map(|account| account.password.as_str());
    passwords::check(password, hash).map_err(|error| {
        if let (HashError::Invalid(_), Some(Account { id, .. })) = (&error, account) {
            eprintln!("the stored password hash of user {id} cannot be checked");
        }
        to_auth_error(error)
    })
}

/// Checks that a text from another system is a hash that can be stored.
pub(crate) fn validate(hash: &str) -> Result<(), Error> {
    passwords::validate(hash).map_err(|error| match error {
        HashError::Invalid(reason) => Error::Invalid(reason),
        error => to_auth_error(error),
    })
}

/// Tells the caller only what it can act on, and logs the rest. `unavailable` is not logged: it means either overload,
/// where each refused request would add a line, or a failed call, which the host has logged already. `invalid` is an
/// internal error here, because the refused hash was stored.
fn to_auth_error(error: HashError) -> Error {
    match error {
        HashError::Unavailable(_) => Error::Unavailable("passwords cannot be checked now; try again shortly".into()),
        HashError::Invalid(detail) | HashError::Internal(detail) => {
            eprintln!("passwords: {detail}");
            Error::Internal("passwords cannot be checked".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_may_be_retried_and_a_stored_text_that_is_not_a_hash_is_an_internal_error() {
        assert!(
            matches!(to_auth_error(HashError::Unavailable("queue of 128".into())), Error::Unavailable(text) if !text.contains("128"))
        );
        for error in [HashError::Invalid("cost 31".into()), HashError::Internal("detail".into())] {
            assert!(matches!(to_auth_error(error), Error::Internal(text) if text == "passwords cannot be checked"));
        }
    }
}
