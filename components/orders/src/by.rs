//! On whose behalf the running call changes things, for the history that the database keeps ([`crate::history`]).
//!
//! An instance serves one call at a time, so it is said once, where the call comes in ([`during`]), and every statement that
//! changes an order or a refund takes it from here ([`columns`]). Passed from function to function it would be an argument
//! of all of them, which one could forget or mix up.

use crate::bindings::orders::Actor;
use souk_database::Value;
use std::cell::RefCell;

/// Who changes things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// Nobody in particular, under open access.
    Anyone,
    /// A user, by number.
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

/// Says who changes things while `work` runs, and afterwards again who did before.
pub(crate) fn during<T>(by: By, work: impl FnOnce() -> T) -> T {
    let before = BY.replace(by);
    let done = work();
    BY.set(before);
    done
}

/// The last two parameters of a statement that changes something: who does, or null, and in which request, or null.
pub(crate) fn columns() -> [Value; 2] {
    let by = BY.with_borrow(|by| match by {
        By::Anyone => Value::Null,
        By::User(number) => Value::text(number.as_str()),
        By::Operator => "operator".into(),
        By::Schedule => "schedule".into(),
        By::Event(id) => Value::text(id.as_str()),
    });
    let trace = souk_call::trace();
    [by, if trace.is_empty() { Value::Null } else { Value::Text(trace) }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_things_is_who_did_before_when_something_inside_has_ended() {
        let by = || format!("{:?}", columns()[0]);
        let event = By::Event("evt_1".into());
        during(By::User("9".into()), || {
            during(event, || assert!(by().contains("evt_1")));
            assert!(by().contains('9'));
        });
        assert_eq!(by(), format!("{:?}", Value::Null));
    }
}
