//! On whose behalf the running call changes data, for the history that the database keeps ([`crate::history`]).
//!
//! An instance serves one call at a time, so the call sets the author once, at its start ([`during`]), and every
//! statement that changes an order or a refund reads it here ([`columns`]). As a parameter it would go through all
//! functions, and one of them could forget it or mix it up.

use crate::bindings::orders::Actor;
use souk_database::Value;
use std::cell::RefCell;

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// No known user, under open access.
    Anyone,
    /// A user, by id.
    User(String),
    /// An operator, with `souk call`.
    Operator,
    /// A schedule of the host.
    Schedule,
    /// An event of the payment provider, by its id.
    Event(String),
}

impl From<&Actor> for By {
    fn from(actor: &Actor) -> By {
        actor.owner().map_or(By::Anyone, |user| By::User(user.to_owned()))
    }
}

thread_local! {
    static BY: RefCell<By> = const { RefCell::new(By::Anyone) };
}

/// Sets the author while `work` runs, and restores the previous author afterwards.
pub(crate) fn during<T>(by: By, work: impl FnOnce() -> T) -> T {
    let before = BY.replace(by);
    let done = work();
    BY.set(before);
    done
}

/// The last two parameters of a statement that changes data: the author or null, and the id of the request or null.
pub(crate) fn columns() -> [Value; 2] {
    let by = BY.with_borrow(|by| match by {
        By::Anyone => Value::Null,
        By::User(id) => Value::text(id.as_str()),
        By::Operator => "operator".into(),
        By::Schedule => "schedule".into(),
        By::Event(id) => Value::text(id.as_str()),
    });
    let trace = souk_call::request_id();
    [by, if trace.is_empty() { Value::Null } else { Value::Text(trace) }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_author_is_restored_when_a_nested_call_ends() {
        let by = || format!("{:?}", columns()[0]);
        let event = By::Event("evt_1".into());
        during(By::User("9".into()), || {
            during(event, || assert!(by().contains("evt_1")));
            assert!(by().contains('9'));
        });
        assert_eq!(by(), format!("{:?}", Value::Null));
    }
}
