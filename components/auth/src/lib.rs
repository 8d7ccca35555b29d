//! Accounts: exports `store:auth/accounts`, `self-service`, `directory`, `guesses`, `timers` and `administration`, and keeps
//! the users in a key-value store.
//!
//! One record holds everything about an account, and one compare-and-swap claims its e-mail: of two people who register
//! the same e-mail at once, one fails. A token only proves who logged in. Every `verify` reads the account, so an
//! administrator's change takes effect at once.
//!
//! Another component hashes and checks passwords (`store:auth/passwords`), so this one needs little time and memory.
//!
//! A failed login always gets the same answer, `unauthorized`: for an unknown e-mail, a wrong password and a disabled
//! user. It also takes the same time, with one exception: an account that was imported with another kind or cost of
//! hash (mostly bcrypt) takes the time of that hash until its first login.

mod account;
mod administration;
mod bindings;
mod directory;
mod guesses;
mod history;
mod imports;
mod password;
mod reset;
mod rules;
mod self_service;
mod store;
mod text;
mod timers;
mod token;

use account::{Account, Key};
use bindings::accounts::{self, Error, NewAccount, Session};
use bindings::guesses::{Counted, Outcome as GuessOutcome, Refusal as GuessRefusal};
use password::Outcome;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use token::{Proof, Refusal, Signer};

/// The component. Between calls it keeps only its signing keys ([`Signer::load`]).
struct Auth;

impl accounts::Guest for Auth {
    fn register(new: NewAccount) -> Result<Session, Error> {
        let signer = Signer::load()?;
        rules::name(&new.name)?;
        let key = rules::new_email(&new.email)?;
        rules::password(&new.password)?;
        let store = Store::open()?;
        // A taken e-mail is refused before the hash is paid for; the swap below is what decides.
        if store.by_email(&key)?.is_some() {
            return Err(Error::EmailTaken);
        }
        let hash = password::hash(&new.password)?;
        let now = now();
        let account = store.add(&key, &Account::new(new.name, new.email, hash, now)?, now)?;
        session(&signer, account, now, now)
    }

    fn login(email: String, password: String) -> Result<Session, Error> {
        let signer = Signer::load()?;
        // Nobody can have registered a password this long, so refusing it early does not reveal who has an account.
        if password.len() > rules::MAX_PASSWORD_BYTES {
            return Err(Error::Unauthorized);
        }
        let store = Store::open()?;
        let key = Key::of(&email);
        let found = key.as_ref().map(|key| store.by_email(key)).transpose()?.flatten();
        let outcome = password::check(&password, found.as_ref())?;
        let account =
            found.filter(|account| outcome != Outcome::Wrong && account.is_open()).ok_or(Error::Unauthorized)?;
        if outcome == Outcome::RightAndOutdated {
            upgrade(&store, &account, &password);
        }
        let now = now();
        session(&signer, account, now, now)
    }

    fn verify(token: String) -> Result<Session, Error> {
        let (signer, now) = (Signer::load()?, now());
        let (account, proof) = authenticate(&signer, &Store::open()?, &token, now)?;
        session(&signer, account, proof.auth_time, now)
    }
}

impl bindings::guesses::Guest for Auth {
    fn admit(account: Option<String>, source: String) -> Result<Counted, GuessRefusal> {
        guesses::admit(account.as_deref(), &source)
    }

    fn settle(account: String, source: String, counted: Counted, outcome: GuessOutcome) -> Result<(), GuessRefusal> {
        guesses::record_outcome(&account, &source, counted, outcome)
    }
}

/// The account of a token, and what the token proves.
fn authenticate(signer: &Signer, store: &Store, token: &str, now: u64) -> Result<(Account, Proof), Error> {
    let proof = signer.read(token, now).map_err(refused)?;
    // Accounts are stored under valid ids only.
    let id = rules::id(&proof.id).map_err(|_| Error::Unauthorized)?;
    let email = Key::of(&proof.email).ok_or(Error::Unauthorized)?;
    let found = match store.by_id(&id)? {
        // An account of release 0.1.0 is found by its e-mail.
        None => store.by_email(&email)?.filter(|account| account.id == id),
        found => found,
    };
    let account = found.filter(|account| {
        account.is_open() && account.generation == proof.generation && Key::of(&account.email).as_ref() == Some(&email)
    });
    Ok((account.ok_or(Error::Unauthorized)?, proof))
}

/// Replaces the outdated hash of an account whose owner has just given the right password. A failure is only logged:
/// the login stands, and the next one tries again.
fn upgrade(store: &Store, account: &Account, password: &str) {
    let replaced = password::hash(password).and_then(|hash| {
        store.update(&account.id, |found| match found.password == account.password {
            true => Ok(Account { password: hash.clone(), ..found }),
            // Somebody else has replaced it meanwhile.
            false => Ok(found),
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
    if let Refusal::NotYetValid { id, seconds } = refusal {
        eprintln!(
            "refused a token of user {id:?} that is dated {seconds} s in the future: clock skew between the hosts of \
             this application; fix: synchronise their clocks (NTP)"
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
