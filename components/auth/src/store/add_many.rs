//! Adds accounts of another system, many at a time.
//!
//! One batch reads what is there already, and one writes the records of new ids, which nobody else can write. A
//! compare-and-swap still claims each e-mail: somebody may register it meanwhile.

use super::{EmailEntry, Store, has_email, parse, to_auth_error, user_key};
use crate::account::{Account, Key};
use crate::bindings::accounts::Error;
use crate::bindings::batch;
use std::collections::HashMap;

/// The outcome for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is new.
    New,
    /// It exists already.
    Existing,
    /// It exists, and has the password that the other system has now.
    NewPassword,
    /// Its e-mail is that of another account.
    EmailTaken,
    /// Its id is that of another account.
    IdTaken,
}

impl Store {
    /// Adds these accounts; with `dry_run` it only reports the outcome for each.
    pub(crate) fn add_many(&self, accounts: &[(Key, Account)], now: u64, dry_run: bool) -> Result<Vec<Added>, Error> {
        let keys = accounts.iter().flat_map(|(key, account)| [key.as_str().to_owned(), user_key(&account.id)]);
        let keys: Vec<String> = keys.collect();
        let mut found: HashMap<String, Vec<u8>> = HashMap::new();
        // The store reads at most 1000 keys in one batch.
        for keys in keys.chunks(1000) {
            let values = batch::get_many(&self.0, keys).map_err(to_auth_error)?;
            found.extend(values.into_iter().filter_map(|(key, value)| Some((key, value?))));
        }
        let (mut added, mut records) = (Vec::new(), Vec::new());
        for (key, account) in accounts {
            let user = user_key(&account.id);
            let existing: Option<Account> = parse(&user, found.get(&user).cloned())?;
            let entry: Option<EmailEntry> = parse(key.as_str(), found.get(key.as_str()).cloned())?;
            let points_here = entry.as_ref().is_some_and(|entry| entry.id() == account.id);
            added.push(match (existing, entry) {
                // An interrupted import has left this record, and no e-mail key points to it yet: write it again.
                (Some(account), None) if has_email(&account, key) && account.deleted.is_none() => Added::New,
                (Some(stored), _) if points_here && has_email(&stored, key) => {
                    let is_new = stored.has_imported_password() && stored.password != account.password;
                    if is_new { Added::NewPassword } else { Added::Existing }
                }
                (Some(_), _) => Added::IdTaken,
                (None, Some(_)) if points_here => Added::Existing,
                (None, Some(_)) if self.by_email(key)?.is_some() => Added::EmailTaken,
                (None, _) => Added::New,
            });
            if !dry_run && added.last() == Some(&Added::New) {
                records.push((user, json(account)?));
            }
        }
        if dry_run {
            return Ok(added);
        }
        for records in records.chunks(1000) {
            batch::set_many(&self.0, records).map_err(to_auth_error)?;
        }
        for ((_, account), added) in accounts.iter().zip(&mut added) {
            if *added != Added::NewPassword {
                continue;
            }
            let changed = self.update(&account.id, |stored| match stored.has_imported_password() {
                true => Ok(Account { password: account.password.clone(), ..stored }),
                false => Ok(stored),
            });
            match changed {
                Ok(changed) if changed.password == account.password => {}
                // Meanwhile the user has logged in, or the account was deleted.
                Ok(_) | Err(Error::Unauthorized) => *added = Added::Existing,
                Err(error) => return Err(error),
            }
        }
        for ((key, account), added) in accounts.iter().zip(&mut added).filter(|(_, added)| **added == Added::New) {
            match self.claim(key, &account.id, now) {
                Ok(true) => {}
                // Another call has added the same account at the same time.
                Ok(false) => *added = Added::Existing,
                Err(Error::EmailTaken) => {
                    self.delete(&user_key(&account.id))?;
                    *added = Added::EmailTaken;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }
}

fn json(account: &Account) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(account).map_err(|error| super::unexpected("an account", &error))
}
