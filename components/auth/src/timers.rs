//! What accounts do at certain times, called by the schedule in `spin.toml`: reset tokens whose time is over are removed,
//! and so is what is kept of sources that have not logged in for long.
//!
//! The store lists its keys in pages, and in no other way, so a call looks at all of them as far as its time goes, and
//! leaves word where the next one goes on. One that comes twice, or beside another, does no harm: what is removed counts for
//! nobody any more, and a token that was made meanwhile is another one.

use crate::account::Account;
use crate::bindings::accounts::Error;
use crate::bindings::timers::{DeliveryError, Guest};
use crate::store::{Keys, Store};
use crate::{Auth, guesses, now};
use std::time::{Duration, Instant};

/// After this time a call begins with no further page of keys.
const MAX_RUN_TIME: Duration = Duration::from_secs(10);
/// Where the next call goes on, while one was not enough. It is no key of an account, as it has neither `/` nor `@`.
const POSITION: &str = "clean-up-from";

impl Guest for Auth {
    fn clean_up() -> Result<(), DeliveryError> {
        clean(&Store::open()?, now(), Instant::now()).map_err(DeliveryError::from)
    }
}

impl From<Error> for DeliveryError {
    /// Calling again helps, once the store is there, or what is wrong was mended.
    fn from(error: Error) -> DeliveryError {
        DeliveryError::Retry(match error {
            Error::Unavailable(text) | Error::Internal(text) | Error::Invalid(text) => text,
            Error::EmailTaken | Error::Unauthorized => "another call has changed the accounts".into(),
        })
    }
}

/// Removes what no longer counts, from the place where the previous call stopped.
fn clean(store: &Store, now: u64, start: Instant) -> Result<(), Error> {
    let mut from: Option<String> = store.read(POSITION)?;
    if from.is_some() {
        // If the store no longer knows the place, the next call starts from the beginning.
        store.delete(POSITION)?;
    }
    let (mut tokens, mut sources) = (0, 0);
    let next = loop {
        let Keys { users, known, next } = store.keys(from.as_deref())?;
        for (_, account) in store.by_keys::<Account>(&users)? {
            tokens += usize::from(end_reset(store, &account, now)?);
        }
        sources += guesses::forget_old(store, &known, now)?;
        match next {
            Some(next) if start.elapsed() < MAX_RUN_TIME => from = Some(next),
            next => break next,
        }
    };
    if let Some(next) = next {
        store.swap(POSITION, |_: Option<String>| Ok((Some(next.clone()), ())))?;
    }
    if tokens + sources > 0 {
        println!("cleaned up: {tokens} expired reset tokens, the known sources of {sources} accounts");
    }
    Ok(())
}

/// Removes the account's reset token when its time is over; whether it did.
fn end_reset(store: &Store, account: &Account, now: u64) -> Result<bool, Error> {
    let is_over = |account: &Account| account.reset.as_ref().is_some_and(|reset| reset.until <= now);
    if !is_over(account) {
        return Ok(false);
    }
    let ended = store.update(&account.id, |found| match is_over(&found) {
        true => Ok(Account { reset: None, ..found }),
        false => Ok(found),
    });
    match ended {
        Ok(_) => Ok(true),
        // It was deleted meanwhile, and the token with it.
        Err(Error::Unauthorized) => Ok(false),
        Err(error) => Err(error),
    }
}
