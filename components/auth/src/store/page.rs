//! Lists accounts, one page of the key-value store's keys at a time, so that memory is bounded for any number of
//! accounts.

use super::{EmailEntry, Store, has_email, parse, to_auth_error, user_key};
use crate::account::{Account, Key};
use crate::bindings::accounts::Error;
use crate::bindings::batch;
use serde::de::DeserializeOwned;

/// Some of the accounts, and where the next ones begin.
pub(crate) struct Page {
    pub accounts: Vec<Account>,
    pub next: Option<String>,
}

/// One page of the store's keys, by what they lead to, and where the next one begins.
pub(crate) struct Keys {
    /// To accounts.
    pub users: Vec<String>,
    /// To the sources that are known to an account.
    pub known: Vec<String>,
    pub next: Option<String>,
}

/// A key and its value, where there is one.
type Found = (String, Option<Vec<u8>>);

impl Store {
    /// The accounts of one page of the store's keys.
    pub(crate) fn page(&self, from: Option<&str>) -> Result<Page, Error> {
        let listed = self.0.list_keys(from).map_err(to_auth_error)?;
        let (users, emails): (Vec<String>, Vec<String>) = listed
            .keys
            .into_iter()
            .filter(|key| key.starts_with("user/") || key.contains('@'))
            .partition(|key| !key.contains('@'));
        let mut accounts = self.users(users)?;
        accounts.extend(self.unmigrated(emails)?);
        Ok(Page { accounts, next: listed.cursor })
    }

    /// One page of keys.
    pub(crate) fn keys(&self, from: Option<&str>) -> Result<Keys, Error> {
        let listed = self.0.list_keys(from).map_err(to_auth_error)?;
        let (users, others): (Vec<_>, Vec<_>) = listed.keys.into_iter().partition(|key| key.starts_with("user/"));
        let known = others.into_iter().filter(|key| key.starts_with("known/")).collect();
        Ok(Keys { users, known, next: listed.cursor })
    }

    /// What is under these keys; those that are gone are left out.
    pub(crate) fn by_keys<T: DeserializeOwned>(&self, keys: &[String]) -> Result<Vec<(String, T)>, Error> {
        let found = self.many(keys)?.into_iter().map(|(key, value)| Ok(parse(&key, value)?.map(|value| (key, value))));
        found.filter_map(Result::transpose).collect()
    }

    /// The accounts with these ids.
    pub(crate) fn by_ids<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Result<Vec<Account>, Error> {
        let keys: Vec<String> = ids.into_iter().map(|id| user_key(id)).collect();
        let found = self.many(&keys)?.into_iter().map(|(key, value)| parse::<Account>(&key, value));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The accounts under these keys, without deleted ones and without those that no e-mail key points to, because
    /// their registration was interrupted. Disabled accounts are listed.
    fn users(&self, keys: Vec<String>) -> Result<Vec<Account>, Error> {
        let mut accounts = Vec::new();
        for (key, value) in self.many(&keys)? {
            accounts.extend(parse::<Account>(&key, value)?.filter(|account| account.deleted.is_none()));
        }
        let emails = accounts.iter().filter_map(|account| Key::of(&account.email));
        let emails: Vec<String> = emails.map(|key| key.as_str().to_owned()).collect();
        let mut valid = std::collections::HashSet::new();
        for (key, value) in self.many(&emails)? {
            valid.extend(parse::<EmailEntry>(&key, value)?.map(|entry| entry.id().to_owned()));
        }
        accounts.retain(|account| valid.contains(&account.id));
        Ok(accounts)
    }

    /// The accounts of release 0.1.0 that are still stored under these e-mails and not yet under their ids.
    fn unmigrated(&self, keys: Vec<String>) -> Result<Vec<Account>, Error> {
        let mut accounts = Vec::new();
        for (key, value) in self.many(&keys)? {
            if let Some(EmailEntry::LegacyAccount(account)) = parse(&key, value)? {
                accounts.push(*account);
            }
        }
        let keys: Vec<String> = accounts.iter().map(|account| user_key(&account.id)).collect();
        let moved: Vec<String> =
            self.many(&keys)?.into_iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key).collect();
        accounts.retain(|account| !moved.contains(&user_key(&account.id)));
        Ok(accounts)
    }

    fn many(&self, keys: &[String]) -> Result<Vec<Found>, Error> {
        if keys.is_empty() { Ok(Vec::new()) } else { batch::get_many(&self.0, keys).map_err(to_auth_error) }
    }

    /// The account with this e-mail, unless it is the one with `id`.
    pub(crate) fn by_email_except(&self, email: &str, id: &str) -> Result<Option<Account>, Error> {
        let Some(key) = Key::of(email) else { return Ok(None) };
        let found = self.by_email(&key)?;
        Ok(found.filter(|account| account.id != id && has_email(account, &key)))
    }
}
