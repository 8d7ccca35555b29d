//! Users by id: `store:auth/directory`.

use crate::Auth;
use crate::bindings::accounts::{Error, User};
use crate::bindings::directory::Guest;
use crate::rules;
use crate::store::Store;
use std::collections::BTreeSet;

/// How many ids one call may name.
const MAX_USERS: usize = 1000;

impl Guest for Auth {
    fn users(ids: Vec<String>) -> Result<Vec<User>, Error> {
        if ids.len() > MAX_USERS {
            return Err(Error::Invalid(format!("at most {MAX_USERS} users at once")));
        }
        // A text that is not an id belongs to nobody.
        let ids: BTreeSet<String> = ids.iter().filter_map(|id| rules::id(id).ok()).collect();
        let found = Store::open()?.by_ids(&ids)?;
        Ok(found.into_iter().filter(|account| account.deleted.is_none()).map(|account| account.for_others()).collect())
    }
}
