//! The history of an account: changes of its role, its disabling and its deletion. It is part of the account's record,
//! so a change and its entry are written together or not at all. It names people only by id, and stays when the account
//! is deleted.

use crate::account::{Account, Change, What, rfc3339};
use crate::bindings::accounts::{Error, Role};
use crate::bindings::administration;

/// How many changes of one account are kept; the oldest are dropped. Only operators can make more than one: users can
/// only delete their account.
const MAX_CHANGES: usize = 200;

/// Who changes things with `souk call`.
pub(crate) const OPERATOR: &str = "operator";

/// When, by whom and in which request accounts are changed.
pub(crate) struct Stamp {
    at: String,
    by: String,
    trace: String,
}

impl Stamp {
    /// Of a change at `now`.
    pub(crate) fn new(by: &str, now: u64) -> Result<Stamp, Error> {
        Ok(Stamp { at: rfc3339(now)?, by: by.to_owned(), trace: souk_call::request_id() })
    }
}

impl Account {
    /// The account with one more change in its history.
    pub(crate) fn with_change(mut self, stamp: &Stamp, what: What, from: &str, to: &str) -> Account {
        let Stamp { at, by, trace } = stamp;
        let excess = (self.changes.len() + 1).saturating_sub(MAX_CHANGES);
        self.changes.drain(..excess);
        self.changes.push(Change {
            at: at.clone(),
            by: by.clone(),
            trace: trace.clone(),
            what,
            from: from.to_owned(),
            to: to.to_owned(),
        });
        self
    }
}

/// A role as the history names it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
    }
}

/// A flag as the history writes it.
pub(crate) fn bool_name(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl From<Change> for administration::Change {
    fn from(change: Change) -> administration::Change {
        let Change { at, by, trace, what, from, to } = change;
        let what = match what {
            What::Role => administration::What::Role,
            What::Disabled => administration::What::Disabled,
            What::Deleted => administration::What::Deleted,
        };
        administration::Change { at, by, trace: Some(trace).filter(|trace| !trace.is_empty()), what, from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_changes_of_an_account_are_kept_and_outlive_it() {
        let stamp = Stamp::new(OPERATOR, 1_700_000_000).unwrap();
        let mut ann = Account::new("Ann".into(), "ann@example.com".into(), "h".into(), 1_700_000_000).unwrap();
        for n in 0..MAX_CHANGES + 5 {
            ann = ann.with_change(&stamp, What::Role, &n.to_string(), "admin");
        }
        let erased = ann.with_change(&stamp, What::Deleted, "false", "true").erased();
        assert_eq!(erased.changes.len(), MAX_CHANGES);
        assert_eq!(erased.changes.first().map(|change| change.from.as_str()), Some("6"));
        let json = serde_json::to_string(&erased).unwrap();
        assert!(!json.contains("Ann") && !json.contains("ann@"), "{json}");
        let back: Account = serde_json::from_str(&json).unwrap();
        assert!(back.changes == erased.changes);
    }
}
