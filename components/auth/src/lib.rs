//! Accounts: exports `store:auth/accounts` and `store:auth/administration`, and keeps the users in a key-value store.
//!
//! An account is one record under one key, its e-mail, so it is made by a single compare-and-swap: two people who
//! register an e-mail at once cannot both succeed, and a crash leaves a whole account or none. A token proves only who
//! someone was; every `verify` reads the account, so what an administrator changes counts at once.
//!
//! Passwords are hashed and checked elsewhere (`store:auth/passwords`): here nothing takes long or much memory.
//!
//! Who may not log in gets one answer, `unauthorized`, whether the e-mail is unknown, the password wrong or the user
//! disabled; and after the same work, but for accounts that were imported with a hash of another kind or cost, above all
//! bcrypt: until their first login they take the work of that hash.

mod account;
mod bindings;
mod password;
mod rules;
mod store;
mod token;

use account::{Account, Key};
use bindings::accounts::{self, Error, NewAccount, Role, Session};
use bindings::administration::{self, LegacyAccount};
use password::Outcome;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use token::{Refusal, Signer};

/// The most accounts on one page.
const MAX_PAGE: u32 = 1000;

/// The component: what it remembers between calls is its signing keys ([`Signer::load`]).
struct Auth;

impl accounts::Guest for Auth {
    fn register(new: NewAccount) -> Result<Session, Error> {
        let signer = Signer::load()?;
        rules::name(&new.name)?;
        let key = rules::email(&new.email)?;
        rules::password(&new.password)?;
        let store = Store::open()?;
        // A taken e-mail is refused before the hash is paid for; the swap below is what decides.
        if store.get(&key)?.is_some() {
            return Err(Error::EmailTaken);
        }
        let hash = password::hash(&new.password)?;
        let now = now();
        let account = store.add(&key, &Account::new(new.name, new.email, hash, now)?)?;
        session(&signer, account, now, now)
    }

    fn login(email: String, password: String) -> Result<Session, Error> {
        let signer = Signer::load()?;
        // Nobody can have registered such a password, and its length says nothing about who has an account.
        if password.len() > rules::MAX_PASSWORD {
            return Err(Error::Unauthorized);
        }
        let store = Store::open()?;
        let key = Key::of(&email);
        let found = key.as_ref().map(|key| store.get(key)).transpose()?.flatten();
        let outcome = password::check(&password, found.as_ref())?;
        let account =
            found.filter(|account| outcome != Outcome::Wrong && !account.disabled).ok_or(Error::Unauthorized)?;
        if let Some(key) = key.filter(|_| outcome == Outcome::RightAndOutdated) {
            upgrade(&store, &key, &account, &password);
        }
        let now = now();
        session(&signer, account, now, now)
    }

    fn verify(token: String) -> Result<Session, Error> {
        let signer = Signer::load()?;
        let now = now();
        let proof = signer.read(&token, now).map_err(refused)?;
        let key = Key::of(&proof.email).ok_or(Error::Unauthorized)?;
        // The number too: should the e-mail ever belong to somebody else, an old token is not theirs.
        let account = Store::open()?
            .get(&key)?
            .filter(|account| account.id == proof.id && !account.disabled)
            .ok_or(Error::Unauthorized)?;
        session(&signer, account, proof.auth_time, now)
    }
}

impl administration::Guest for Auth {
    fn set_role(email: String, role: Role) -> Result<administration::Account, Error> {
        change(&email, |account| Account { role, ..account })
    }

    fn disable(email: String, disabled: bool) -> Result<administration::Account, Error> {
        change(&email, |account| Account { disabled, ..account })
    }

    fn import_account(legacy: LegacyAccount) -> Result<administration::Account, Error> {
        rules::name(&legacy.name)?;
        let key = rules::email(&legacy.email)?;
        let id = legacy.id.as_deref().map(rules::id).transpose()?;
        password::validate(&legacy.password_hash)?;
        let account = Account::imported(legacy, id, now())?;
        Store::open()?.add(&key, &account).map(Account::for_operator)
    }

    fn list(page: u32, limit: u32) -> Result<administration::Page, Error> {
        if page == 0 {
            return Err(Error::Invalid("page must be a positive number".into()));
        }
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::Invalid(format!("limit must be from 1 to {MAX_PAGE}")));
        }
        let (accounts, total) = Store::open()?.page(page, limit)?;
        Ok(administration::Page { accounts: accounts.into_iter().map(Account::for_operator).collect(), total })
    }
}

/// Changes the account with this e-mail.
fn change(email: &str, change: impl Fn(Account) -> Account) -> Result<administration::Account, Error> {
    let nobody = || Error::Invalid("nobody has this e-mail".into());
    let key = Key::of(email).ok_or_else(nobody)?;
    Store::open()?.update(&key, |found| found.map(&change).ok_or_else(nobody)).map(Account::for_operator)
}

/// Replaces the outdated hash of an account whose owner has just given the right password. A failure is only logged:
/// the login stands, and the next one tries again.
fn upgrade(store: &Store, key: &Key, account: &Account, password: &str) {
    let replaced = password::hash(password).and_then(|hash| {
        store.update(key, |found| match found {
            // Unless somebody else has replaced it meanwhile.
            Some(found) if found.password == account.password => Ok(Account { password: hash.clone(), ..found }),
            found => found.ok_or(Error::Unauthorized),
        })
    });
    if replaced.is_err() {
        eprintln!(
            "the outdated password hash of user {} could not be replaced; the next login tries again",
            account.id
        );
    }
}

/// The one answer to every refused token. The log names what an operator can fix.
fn refused(refusal: Refusal) -> Error {
    if let Refusal::Early { id, seconds } = refusal {
        eprintln!(
            "a token of user {id:?} begins {seconds} s from now and is refused: clock skew between the hosts of this \
             application; fix: synchronise their clocks (NTP)"
        );
    }
    Error::Unauthorized
}

/// The session of someone who logged in at `auth_time`.
fn session(signer: &Signer, account: Account, auth_time: u64, now: u64) -> Result<Session, Error> {
    let token = signer.issue(&account, auth_time, now)?;
    Ok(Session { user: account.for_others(), token })
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
