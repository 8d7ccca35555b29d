//! The accounts in the key-value store `auth`.
//!
//! Every write is a compare-and-swap, so two changes of one account never overwrite each other, whichever instances or
//! hosts make them. What the store says goes to the log; callers are told what they can act on.

use crate::account::{Account, Key};
use crate::bindings::accounts::Error;
use crate::bindings::atomics::{self, Cas, CasError};
use crate::bindings::batch;
use crate::bindings::buckets::{self, Bucket, Error as BucketError};
use std::collections::BTreeSet;

/// The label under which the manifest grants the store.
const LABEL: &str = "auth";
/// How often a change is tried again because somebody else changed the account in between: more than there are
/// instances that could.
const MAX_TRIES: usize = 512;

/// The open store.
pub(crate) struct Store(Bucket);

impl Store {
    /// Opens the store.
    pub(crate) fn open() -> Result<Self, Error> {
        buckets::open(LABEL).map(Store).map_err(refused)
    }

    /// The account under a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Account>, Error> {
        parse(key.as_str(), self.0.get(key.as_str()).map_err(refused)?)
    }

    /// Puts an account under a key that nobody has; `email-taken` otherwise.
    pub(crate) fn add(&self, key: &Key, account: &Account) -> Result<Account, Error> {
        self.update(key, |found| match found {
            Some(_) => Err(Error::EmailTaken),
            None => Ok(account.clone()),
        })
    }

    /// Replaces what is under a key by what `change` makes of it, and returns that; when somebody else was faster, with
    /// what they left. An error of `change` leaves everything as it is.
    pub(crate) fn update(
        &self,
        key: &Key,
        change: impl Fn(Option<Account>) -> Result<Account, Error>,
    ) -> Result<Account, Error> {
        let mut cas = Cas::new(&self.0, key.as_str()).map_err(refused)?;
        for _ in 0..MAX_TRIES {
            let account = change(parse(key.as_str(), cas.current().map_err(refused)?)?)?;
            let value = serde_json::to_vec(&account).map_err(|error| unexpected(key.as_str(), &error))?;
            match atomics::swap(cas, &value) {
                Ok(()) => return Ok(account),
                Err(CasError::CasFailed(renewed)) => cas = renewed,
                Err(CasError::StoreError(error)) => return Err(refused(error)),
            }
        }
        eprintln!("key-value store `{LABEL}`: an account was changed by others {MAX_TRIES} times in a row");
        Err(unavailable())
    }

    /// Page `page` (from 1) of the accounts by e-mail, and how many there are in all.
    ///
    /// A store lists its keys in any order, so all are seen; no more are kept than the page and those before it.
    pub(crate) fn page(&self, page: u32, limit: u32) -> Result<(Vec<Account>, u64), Error> {
        let (limit, mut first) = (limit as usize, Lowest::new(u64::from(page) * u64::from(limit)));
        let mut cursor = None;
        loop {
            let listed = self.0.list_keys(cursor.as_deref()).map_err(refused)?;
            listed.keys.into_iter().for_each(|key| first.add(key));
            cursor = listed.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let total = first.seen;
        let keys = first.into_page(limit);
        let values = if keys.is_empty() { Vec::new() } else { batch::get_many(&self.0, &keys).map_err(refused)? };
        let mut accounts = Vec::with_capacity(values.len());
        for (key, value) in values {
            accounts.extend(parse(&key, value)?);
        }
        Ok((accounts, total))
    }
}

/// The lowest `most` of the keys that it has seen.
struct Lowest {
    most: u64,
    seen: u64,
    keys: BTreeSet<String>,
}

impl Lowest {
    fn new(most: u64) -> Self {
        Lowest { most, seen: 0, keys: BTreeSet::new() }
    }

    /// Takes note of a key. Some stores list one twice that is written meanwhile: it is on the page once, and counted
    /// twice only where it comes after the page.
    fn add(&mut self, key: String) {
        if self.keys.insert(key) {
            self.seen += 1;
        }
        if self.keys.len() as u64 > self.most {
            self.keys.pop_last();
        }
    }

    /// The last page of `limit` keys, in order; empty when there are not as many keys as pages before it hold.
    fn into_page(self, limit: usize) -> Vec<String> {
        let before = self.most.saturating_sub(limit as u64);
        self.keys.into_iter().skip(usize::try_from(before).unwrap_or(usize::MAX)).collect()
    }
}

fn parse(key: &str, value: Option<Vec<u8>>) -> Result<Option<Account>, Error> {
    value.map(|json| serde_json::from_slice(&json)).transpose().map_err(|error| unexpected(key, &error))
}

/// A record that this component did not write. The error has a place in it and no content.
fn unexpected(key: &str, error: &serde_json::Error) -> Error {
    eprintln!(
        "key-value store `{LABEL}`: the value of {key:?} is no account: {:?} at column {}",
        error.classify(),
        error.column()
    );
    Error::Internal("the accounts' store has unexpected content".into())
}

/// Logs what the store said and tells the caller only what it can act on.
fn refused(error: BucketError) -> Error {
    eprintln!("key-value store `{LABEL}`: {error}");
    match error {
        BucketError::Other(_) => unavailable(),
        BucketError::NoSuchStore | BucketError::AccessDenied => {
            Error::Internal("accounts cannot open their store".into())
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable("the accounts' store does not answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: u64, limit: usize, keys: &[&str]) -> (Vec<String>, u64) {
        let mut lowest = Lowest::new(page * limit as u64);
        keys.iter().for_each(|key| lowest.add((*key).to_owned()));
        assert!(lowest.keys.len() as u64 <= page * limit as u64);
        let seen = lowest.seen;
        (lowest.into_page(limit), seen)
    }

    #[test]
    fn pages_are_in_order_whatever_the_order_of_the_keys() {
        for keys in [["a", "b", "c", "d", "e"], ["e", "d", "c", "b", "a"], ["c", "e", "a", "d", "b"]] {
            assert_eq!(page(1, 2, &keys), (vec!["a".into(), "b".into()], 5));
            assert_eq!(page(2, 2, &keys), (vec!["c".into(), "d".into()], 5));
            assert_eq!(page(3, 2, &keys), (vec!["e".into()], 5));
            assert_eq!(page(4, 2, &keys), (vec![], 5));
            assert_eq!(page(u64::from(u32::MAX), 1000, &keys), (vec![], 5));
        }
        assert_eq!(page(1, 2, &[]), (vec![], 0));
    }

    #[test]
    fn a_key_that_is_listed_twice_is_on_the_page_once() {
        assert_eq!(page(1, 3, &["b", "a", "b"]), (vec!["a".into(), "b".into()], 2));
    }

    #[test]
    fn a_value_that_is_no_account_is_a_fault() {
        assert!(matches!(parse("a@b.io", Some(b"{}".to_vec())), Err(Error::Internal(_))));
        assert!(matches!(parse("a@b.io", None), Ok(None)));
    }
}
