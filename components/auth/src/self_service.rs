//! What users do to their own accounts: `store:auth/self-service`.
//!
//! A stolen token is not enough to take over an account: changes of the password or the e-mail, and deletion, also ask
//! for the password.

use crate::account::Account;
use crate::bindings::accounts::{Error, Session, User};
use crate::bindings::self_service::Guest;
use crate::password::{self, Outcome};
use crate::store::Store;
use crate::token::Signer;
use crate::{Auth, authenticate, guesses, now, reset, rules, session};

/// The message for a password that is not the account's.
const WRONG: &str = "the password is wrong";

impl Guest for Auth {
    fn revoke(token: String) -> Result<User, Error> {
        let store = Store::open()?;
        let (account, proof) = authenticate(&*Signer::load()?, &store, &token, now())?;
        let ended = store.update(&account.id, |account| match account.generation == proof.generation {
            true => Ok(account.without_tokens()),
            // Another call has revoked them meanwhile.
            false => Ok(account),
        });
        ended.map(Account::for_others)
    }

    fn change_password(token: String, current: String, new: String) -> Result<Session, Error> {
        let (signer, store, now) = (Signer::load()?, Store::open()?, now());
        let (account, proof) = authenticate(&signer, &store, &token, now)?;
        verify_password(&account, &current)?;
        rules::password(&new)?;
        let hash = password::hash(&new)?;
        let changed = store.update(&account.id, |found| match found.generation == proof.generation {
            true => Ok(Account { password: hash.clone(), ..found.without_tokens() }),
            false => Err(Error::Unauthorized),
        })?;
        session(&signer, changed, now, now)
    }

    fn change_email(token: String, password: String, email: String) -> Result<Session, Error> {
        let (signer, store, now) = (Signer::load()?, Store::open()?, now());
        let (account, proof) = authenticate(&signer, &store, &token, now)?;
        let key = rules::new_email(&email)?;
        verify_password(&account, &password)?;
        // Tokens contain the old address, and a reset token was sent to it.
        let changed = store.change_email(&account, &key, now, |found| match found.generation == proof.generation {
            true => Ok(Account { email: email.clone(), ..found.without_tokens() }),
            false => Err(Error::Unauthorized),
        })?;
        session(&signer, changed, proof.auth_time, now)
    }

    fn delete_account(token: String, password: String) -> Result<String, Error> {
        let (signer, store, now) = (Signer::load()?, Store::open()?, now());
        let (account, _) = authenticate(&signer, &store, &token, now)?;
        verify_password(&account, &password)?;
        store.erase(&account.id, &account.id, now, || guesses::forget(&store, &account.id))?;
        Ok(account.id)
    }

    fn reset_password(reset_token: String, password: String) -> Result<Session, Error> {
        let (signer, store, now) = (Signer::load()?, Store::open()?, now());
        let (id, secret) = reset::split(&reset_token).ok_or(Error::Unauthorized)?;
        let id = rules::id(id).map_err(|_| Error::Unauthorized)?;
        let is_valid = |account: &Account| reset::is_valid(account, secret, now);
        store.by_id(&id)?.filter(is_valid).ok_or(Error::Unauthorized)?;
        rules::password(&password)?;
        let hash = password::hash(&password)?;
        // If two requests use the same token at once, the second one fails here.
        let changed = store.update(&id, |found| match is_valid(&found) {
            true => Ok(Account { password: hash.clone(), ..found.without_tokens() }),
            false => Err(Error::Unauthorized),
        })?;
        session(&signer, changed, now, now)
    }
}

/// Checks the password of a user who is already logged in.
fn verify_password(account: &Account, password: &str) -> Result<(), Error> {
    let is_wrong = || Error::Invalid(WRONG.into());
    if password.len() > rules::MAX_PASSWORD_BYTES {
        return Err(is_wrong());
    }
    match password::check(password, Some(account))? {
        Outcome::Wrong => Err(is_wrong()),
        Outcome::Right | Outcome::RightAndOutdated => Ok(()),
    }
}
