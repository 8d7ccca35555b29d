//! What an operator does to accounts: `store:auth/administration`.

use crate::account::What;
use crate::account::{Account, Key};
use crate::bindings::accounts::{Error, Role};
use crate::bindings::administration::{self, Guest, LegacyAccount, LookAlike, LookAlikes, ResetToken};
use crate::history::{OPERATOR, Stamp, bool_name, role_name};
use crate::store::Store;
use crate::{Auth, guesses, now, password, reset, rules, text};

impl Guest for Auth {
    fn set_role(email: String, role: Role) -> Result<administration::Account, Error> {
        let stamp = Stamp::new(OPERATOR, now())?;
        change(&email, |account| match account.role == role {
            true => account,
            false => {
                let from = role_name(account.role);
                let changed = Account { role, ..account.without_tokens() };
                changed.with_change(&stamp, What::Role, from, role_name(role))
            }
        })
    }

    fn disable(email: String, disabled: bool) -> Result<administration::Account, Error> {
        let stamp = Stamp::new(OPERATOR, now())?;
        change(&email, |account| match account.disabled == disabled {
            true => account,
            false => {
                let changed = Account { disabled, ..account.without_tokens() };
                changed.with_change(&stamp, What::Disabled, bool_name(!disabled), bool_name(disabled))
            }
        })
    }

    fn set_password(email: String, password: String) -> Result<administration::Account, Error> {
        rules::password(&password)?;
        let hash = password::hash(&password)?;
        change(&email, |account| Account { password: hash.clone(), ..account.without_tokens() })
    }

    fn create_reset_token(email: String) -> Result<ResetToken, Error> {
        let now = now();
        let (secret, kept) = reset::make(now)?;
        let account = change(&email, |account| Account { reset: Some(kept.clone()), ..account })?;
        let token = reset::token(&account.user.id, &secret);
        Ok(ResetToken { token, expires_at: crate::account::rfc3339(kept.until)? })
    }

    fn revoke(email: String) -> Result<administration::Account, Error> {
        change(&email, Account::without_tokens)
    }

    fn delete_account(id: String) -> Result<(), Error> {
        let (id, store) = (rules::id(&id)?, Store::open()?);
        // An account of release 0.1.0 moves to its id when it is looked up by its e-mail (`find`).
        store.erase(&id, OPERATOR, now(), || guesses::forget(&store, &id))
    }

    fn find(email: String) -> Result<Option<administration::Account>, Error> {
        let Some(key) = Key::of(&email) else { return Ok(None) };
        let found = Store::open()?.by_email(&key)?;
        Ok(found.filter(|account| account.deleted.is_none()).map(Account::for_operator))
    }

    fn find_by_id(id: String) -> Result<Option<administration::Account>, Error> {
        let found = Store::open()?.by_id(&rules::id(&id)?)?;
        Ok(found.filter(|account| account.deleted.is_none()).map(Account::for_operator))
    }

    fn history(id: String) -> Result<Vec<administration::Change>, Error> {
        let found = Store::open()?.by_id(&rules::id(&id)?)?;
        let account = found.ok_or_else(|| Error::Invalid("no account ever had this id".into()))?;
        Ok(account.changes.into_iter().map(administration::Change::from).collect())
    }

    fn import_account(legacy: LegacyAccount) -> Result<administration::Account, Error> {
        rules::name(&legacy.name)?;
        let key = rules::email(&legacy.email)?;
        let id = legacy.id.as_deref().map(rules::id).transpose()?;
        password::validate(&legacy.password_hash)?;
        let now = now();
        let (role, account) = (legacy.role, Account::imported(legacy, id, now)?);
        let account = match role {
            Role::Customer => account,
            Role::Admin => {
                let from = role_name(Role::Customer);
                account.with_change(&Stamp::new(OPERATOR, now)?, What::Role, from, role_name(role))
            }
        };
        Store::open()?.add(&key, &account, now).map(Account::for_operator)
    }

    fn list(from: Option<String>) -> Result<administration::Page, Error> {
        let page = Store::open()?.page(from.as_deref())?;
        let accounts = page.accounts.into_iter().map(Account::for_operator).collect();
        Ok(administration::Page { accounts, next: page.next })
    }

    fn list_look_alikes(from: Option<String>) -> Result<LookAlikes, Error> {
        let store = Store::open()?;
        let page = store.page(from.as_deref())?;
        let mut accounts = Vec::new();
        for account in page.accounts {
            let plain = text::plain(&account.email);
            if plain != account.email {
                let other = store.by_email_except(&plain, &account.id)?.map(Account::for_operator);
                accounts.push(LookAlike { account: account.for_operator(), plain, other });
            }
        }
        Ok(LookAlikes { accounts, next: page.next })
    }
}

/// Changes the account with this e-mail.
fn change(email: &str, change: impl Fn(Account) -> Account) -> Result<administration::Account, Error> {
    let nobody = || Error::Invalid("no account has this e-mail".into());
    let (key, store) = (Key::of(email).ok_or_else(nobody)?, Store::open()?);
    let account = store.by_email(&key)?.ok_or_else(nobody)?;
    let changed = store.update(&account.id, |account| match Key::of(&account.email).as_ref() == Some(&key) {
        true => Ok(change(account)),
        false => Err(nobody()),
    });
    changed.map(Account::for_operator).map_err(|error| match error {
        Error::Unauthorized => nobody(),
        error => error,
    })
}
