//! The key-value store `auth`: accounts, which e-mail belongs to which account, and the counters of failed attempts.
//!
//! An account is one record under `user/` and its id, which never changes. The key of its e-mail points to it, and
//! counts only while the account has this e-mail. So a change of e-mail is one write to one record, and an interrupted
//! change leaves at worst a key that points nowhere. Such a key can be taken over, but only after [`GRACE_SECONDS`]: by
//! then the call that was going to delete it has done so or is dead.
//!
//! Release 0.1.0 stored the whole account under the e-mail; the first look-up moves such a record to the account's id.
//!
//! Every write of a value is a compare-and-swap, except for the records of new ids in an import. So two changes of one
//! account never overwrite each other, whichever instances or hosts make them. The errors of the store go to the log;
//! callers get only what they can act on.

mod add_many;
mod page;

pub(crate) use add_many::Added;
pub(crate) use page::Keys;

use crate::account::What;
use crate::account::{Account, Key};
use crate::bindings::accounts::Error;
use crate::bindings::atomics::{self, Cas, CasError};
use crate::bindings::buckets::{self, Bucket, Error as BucketError};
use crate::history::{Stamp, bool_name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::rc::Rc;

/// The label under which the manifest grants the store.
const LABEL: &str = "auth";
/// The most attempts to change a record while other calls keep changing it. Each failed attempt means that another call
/// has succeeded, so this many in a row are unlikely.
const MAX_TRIES: usize = 512;
/// How many seconds must pass before a key that points nowhere is taken over, or before a deletion is repeated: longer
/// than a call runs (its deadline is 30 s by default), so that the call that began it has ended.
const GRACE_SECONDS: u64 = 120;

thread_local! {
    /// The store, opened once in the life of an instance.
    static BUCKET: OnceCell<Rc<Bucket>> = const { OnceCell::new() };
}

/// The open store.
pub(crate) struct Store(Rc<Bucket>);

/// The value under the key of an e-mail.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum EmailEntry {
    /// An account of release 0.1.0.
    LegacyAccount(Box<Account>),
    /// The user whose e-mail it is.
    Owner {
        /// The user's id.
        id: String,
        /// Since when, in seconds since 1970.
        since: u64,
    },
}

impl EmailEntry {
    fn id(&self) -> &str {
        match self {
            EmailEntry::LegacyAccount(account) => &account.id,
            EmailEntry::Owner { id, .. } => id,
        }
    }
}

impl Store {
    /// Opens the store.
    pub(crate) fn open() -> Result<Self, Error> {
        if let Some(bucket) = BUCKET.with(|cell| cell.get().cloned()) {
            return Ok(Store(bucket));
        }
        let bucket = Rc::new(buckets::open(LABEL).map_err(to_auth_error)?);
        Ok(Store(BUCKET.with(|cell| cell.get_or_init(|| bucket).clone())))
    }

    /// The account with this id.
    pub(crate) fn by_id(&self, id: &str) -> Result<Option<Account>, Error> {
        self.read(&user_key(id))
    }

    /// The account with this e-mail.
    pub(crate) fn by_email(&self, key: &Key) -> Result<Option<Account>, Error> {
        let account = match self.read(key.as_str())? {
            None => None,
            Some(EmailEntry::Owner { id, .. }) => self.by_id(&id)?,
            Some(EmailEntry::LegacyAccount(account)) => Some(self.migrate(key, *account)?),
        };
        Ok(account.filter(|account| has_email(account, key)))
    }

    /// Moves an account of release 0.1.0 to its id; a record that is already there is newer.
    fn migrate(&self, key: &Key, old: Account) -> Result<Account, Error> {
        let account = self.swap(&user_key(&old.id), |found: Option<Account>| match found {
            Some(found) => Ok((None, found)),
            None => Ok((Some(old.clone()), old.clone())),
        })?;
        if has_email(&account, key) {
            self.swap(key.as_str(), |entry| match entry {
                Some(EmailEntry::LegacyAccount(_)) => {
                    Ok((Some(EmailEntry::Owner { id: account.id.clone(), since: 0 }), ()))
                }
                _ => Ok((None, ())),
            })?;
        } else if account.email_since.is_none() && account.deleted.is_none() {
            eprintln!(
                "two accounts have the id {}: only the one that logged in first can log in; fix: delete the other \
                 one's record from the store and import it with another id",
                old.id
            );
        }
        Ok(account)
    }

    /// Stores a new account, whose e-mail has this key.
    ///
    /// # Errors
    /// `email-taken`, and `invalid` when another account has the id.
    pub(crate) fn add(&self, key: &Key, account: &Account, now: u64) -> Result<Account, Error> {
        if self.by_email(key)?.is_some() {
            return Err(Error::EmailTaken);
        }
        // Store the account first: the key of its e-mail makes it valid. Overwrite what an interrupted registration has
        // left.
        self.swap(&user_key(&account.id), |found: Option<Account>| match found {
            Some(found) if !has_email(&found, key) => Err(Error::Invalid("another account has this id".into())),
            _ => Ok((Some(account.clone()), ())),
        })?;
        match self.claim(key, &account.id, now) {
            Ok(true) => Ok(account.clone()),
            // Another call has added the same account at the same time.
            Ok(false) => Err(Error::EmailTaken),
            Err(error) => {
                if matches!(error, Error::EmailTaken) {
                    self.delete(&user_key(&account.id))?;
                }
                Err(error)
            }
        }
    }

    /// Changes an account with `change` and returns the changed account; after an error of `change` nothing is changed.
    ///
    /// # Errors
    /// `unauthorized` when no account has this id any more.
    pub(crate) fn update(
        &self,
        id: &str,
        change: impl Fn(Account) -> Result<Account, Error>,
    ) -> Result<Account, Error> {
        self.swap(&user_key(id), |found: Option<Account>| {
            let account = change(found.filter(|account| account.deleted.is_none()).ok_or(Error::Unauthorized)?)?;
            Ok((Some(account.clone()), account))
        })
    }

    /// Changes a user's e-mail to the one with this key; `change` may change other fields too.
    ///
    /// # Errors
    /// `email-taken`, and the errors of `change`.
    pub(crate) fn change_email(
        &self,
        account: &Account,
        key: &Key,
        now: u64,
        change: impl Fn(Account) -> Result<Account, Error>,
    ) -> Result<Account, Error> {
        let is_new = self.claim(key, &account.id, now)?;
        let changed = self.update(&account.id, |found| {
            if found.email != account.email {
                return Err(Error::Unavailable("another call is changing the account".into()));
            }
            Ok(Account { email_since: Some(now), ..change(found)? })
        });
        match (&changed, Key::of(&account.email)) {
            (Ok(_), Some(old)) if old != *key => self.release(&old, &account.id)?,
            (Err(_), _) if is_new => self.release(key, &account.id)?,
            _ => {}
        }
        changed
    }

    /// Deletes an account except for its id and its history, on behalf of `by`. `forget` deletes what else is stored
    /// of it.
    ///
    /// # Errors
    /// `invalid` when no account has this id, and `unavailable` while another call deletes it.
    pub(crate) fn erase(
        &self,
        id: &str,
        by: &str,
        now: u64,
        forget: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let stamp = Stamp::new(by, now)?;
        let account = self.swap(&user_key(id), |found: Option<Account>| {
            let account = found
                .filter(|account| account.deleted.is_none() || !account.email.is_empty())
                .ok_or_else(|| Error::Invalid("no account has this id".into()))?;
            if account.deleted.is_some_and(|since| now < since + GRACE_SECONDS) {
                return Err(Error::Unavailable("the account is being deleted; try again in two minutes".into()));
            }
            let is_first = account.deleted.is_none();
            let begun = Account { deleted: Some(now), ..account };
            let begun = if is_first {
                begun.with_change(&stamp, What::Deleted, bool_name(false), bool_name(true))
            } else {
                begun
            };
            Ok((Some(begun.clone()), begun))
        })?;
        // The record keeps the e-mail until the end: if this call is interrupted, a later one reads there what is left
        // to delete.
        forget()?;
        if let Some(key) = Key::of(&account.email) {
            self.release(&key, id)?;
        }
        self.swap(&user_key(id), |found: Option<Account>| Ok((found.map(Account::erased), ())))
    }

    /// Makes the key of an e-mail point to a user; `false` when it already did.
    pub(crate) fn claim(&self, key: &Key, user: &str, now: u64) -> Result<bool, Error> {
        let claimed = || Ok((Some(EmailEntry::Owner { id: user.to_owned(), since: now }), true));
        self.swap(key.as_str(), |entry| match entry {
            None => claimed(),
            Some(entry) if entry.id() == user => Ok((None, false)),
            Some(EmailEntry::Owner { id, since }) => {
                let holder = self.by_id(&id)?;
                let changed = holder.as_ref().and_then(|holder| holder.email_since).unwrap_or(0).max(since);
                let is_free = !holder.is_some_and(|holder| has_email(&holder, key)) && now >= changed + GRACE_SECONDS;
                if is_free { claimed() } else { Err(Error::EmailTaken) }
            }
            Some(EmailEntry::LegacyAccount(_)) => Err(Error::EmailTaken),
        })
    }

    /// Deletes the key of an e-mail that a user no longer has.
    fn release(&self, key: &Key, user: &str) -> Result<(), Error> {
        match self.read::<EmailEntry>(key.as_str())? {
            Some(entry) if entry.id() == user => self.delete(key.as_str()),
            _ => Ok(()),
        }
    }

    /// The value under a key.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        parse(key, self.0.get(key).map_err(to_auth_error)?)
    }

    /// Replaces the value under a key with the first part of what `change` returns; with `None` the value stays. If
    /// another call was faster, calls `change` again with the new value. Returns the second part of what `change`
    /// returned.
    pub(crate) fn swap<T: DeserializeOwned + Serialize, R>(
        &self,
        key: &str,
        change: impl Fn(Option<T>) -> Result<(Option<T>, R), Error>,
    ) -> Result<R, Error> {
        let mut cas = Cas::new(&self.0, key).map_err(to_auth_error)?;
        for _ in 0..MAX_TRIES {
            let (value, answer) = change(parse(key, cas.current().map_err(to_auth_error)?)?)?;
            let Some(value) = value else { return Ok(answer) };
            let value = serde_json::to_vec(&value).map_err(|error| unexpected(key, &error))?;
            match atomics::swap(cas, &value) {
                Ok(()) => return Ok(answer),
                Err(CasError::CasFailed(renewed)) => cas = renewed,
                Err(CasError::StoreError(error)) => return Err(to_auth_error(error)),
            }
        }
        eprintln!("key-value store `{LABEL}`: a value was changed by others {MAX_TRIES} times in a row");
        Err(unavailable())
    }

    /// Deletes a key, if it exists.
    pub(crate) fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.delete(key).map_err(to_auth_error)
    }
}

/// Whether the account has the e-mail with this key.
fn has_email(account: &Account, key: &Key) -> bool {
    Key::of(&account.email).as_ref() == Some(key)
}

/// The key of an account. It differs from every key of an e-mail, because those contain an `@`.
fn user_key(id: &str) -> String {
    format!("user/{id}")
}

fn parse<T: DeserializeOwned>(key: &str, value: Option<Vec<u8>>) -> Result<Option<T>, Error> {
    value.map(|json| serde_json::from_slice(&json)).transpose().map_err(|error| unexpected(key, &error))
}

/// Logs a value that this component did not write. The log gets the position of the error, not the content.
fn unexpected(key: &str, error: &serde_json::Error) -> Error {
    eprintln!(
        "key-value store `{LABEL}`: the value of {:?} is not what this component writes: {:?} error at column {}",
        key_for_log(key),
        error.classify(),
        error.column()
    );
    Error::Internal("the account store contains an unexpected value".into())
}

/// A key for the log, which must not name a person: the key of an e-mail is the address.
fn key_for_log(key: &str) -> &str {
    if key.contains('@') { "***" } else { key }
}

/// An error that should be impossible; its text goes to the log.
pub(crate) fn fault(what: &str) -> Error {
    eprintln!("{what}");
    Error::Internal("internal error in the account service".into())
}

/// Logs the error of the store and tells the caller only what it can act on.
fn to_auth_error(error: BucketError) -> Error {
    eprintln!("key-value store `{LABEL}`: {error}");
    match error {
        BucketError::Other(_) => unavailable(),
        BucketError::NoSuchStore | BucketError::AccessDenied => {
            Error::Internal("the account service cannot open its store".into())
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable("the account store does not answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_an_account_is_an_internal_error() {
        assert!(matches!(parse::<Account>("user/1", Some(b"{}".to_vec())), Err(Error::Internal(_))));
        assert!(matches!(parse::<EmailEntry>("a@b.io", Some(b"{}".to_vec())), Err(Error::Internal(_))));
        assert!(matches!(parse::<Account>("user/1", None), Ok(None)));
        assert_eq!((key_for_log("a@b.io"), key_for_log("user/1")), ("***", "user/1"));
    }

    #[test]
    fn the_key_of_an_e_mail_holds_an_id_or_an_account_of_release_0_1_0() {
        let old = br#"{"id":"6b03","email":"Ann@example.com","name":"Ann","role":"admin","disabled":false,"password":"$2b$h","createdAt":"2023-11-14T22:13:20Z"}"#;
        let entry: EmailEntry = parse("ann@example.com", Some(old.to_vec())).unwrap().unwrap();
        assert!(matches!(&entry, EmailEntry::LegacyAccount(account) if account.generation == 0 && account.is_open()));
        let new: EmailEntry = parse("ann@example.com", Some(br#"{"id":"6b03","since":7}"#.to_vec())).unwrap().unwrap();
        assert!(matches!(new, EmailEntry::Owner { ref id, since: 7 } if id == entry.id()));
    }
}
