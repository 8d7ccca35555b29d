//! Changes of an order's status by hand. [`crate::payment_state`] has the changes by payments.

use crate::bindings::orders::{Actor, Error, Order, Status};
use crate::rows::{self, status_name};
use crate::{by, sql, store};
use souk_database::Database;

/// How often a change is tried while others change the status. Two more changes are possible at most: from any status
/// at most two steps lead to a final one.
const MAX_TRIES: usize = 3;

/// Moves an order to a status. The statement names the status that the order must have. So if something else happens at
/// the same time (above all a payment), the database decides which comes first, and the other one sees it.
///
/// # Errors
/// `not-found` when the actor may not see the order; those of [`check`]; those of the database.
pub(crate) fn change(database: &Database, actor: &Actor, id: &str, to: Status) -> Result<Order, Error> {
    for _ in 0..MAX_TRIES {
        let order = store::find(database, id, actor.sees())?;
        if order.status == to {
            return Ok(order);
        }
        check(actor, order.status, to)?;
        let [changed_by, trace] = by::columns();
        let parameters = [id.into(), status_name(to).into(), status_name(order.status).into(), changed_by, trace];
        if let Some(moved) = rows::one(database.query(sql::MOVE, &parameters)?)? {
            return Ok(moved);
        }
    }
    Err(Error::Unavailable("other calls keep changing the order; try again".into()))
}

/// Whether the actor may move an order that they see between two different statuses.
fn check(actor: &Actor, from: Status, to: Status) -> Result<(), Error> {
    use Status::{Cancelled, Delivered, Paid, Pending, Refunded};
    if matches!(actor, Actor::Customer(_)) && to != Cancelled {
        return Err(Error::Forbidden("customers may only cancel their orders".into()));
    }
    match (from, to) {
        (Pending, Cancelled) | (Paid, Delivered) => Ok(()),
        (Pending, Delivered) if matches!(actor, Actor::Anyone) => Ok(()),
        (_, Paid) => Err(Error::Invalid("only a payment makes an order PAID".into())),
        (_, Refunded) => Err(Error::Invalid("only a refund of its payment makes an order REFUNDED".into())),
        (from, to) => {
            Err(Error::Conflict(format!("an order that is {} cannot become {}", status_name(from), status_name(to))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::STATUSES;

    #[test]
    fn each_actor_may_make_exactly_these_moves() {
        let actors = [Actor::Customer("1".into()), Actor::Admin("2".into()), Actor::Anyone];
        let mut allowed = Vec::new();
        for actor in &actors {
            for from in STATUSES {
                for to in STATUSES.into_iter().filter(|to| *to != from) {
                    if check(actor, from, to).is_ok() {
                        allowed.push(format!("{actor:?}: {} -> {}", status_name(from), status_name(to)));
                    }
                }
            }
        }
        assert_eq!(
            allowed,
            [
                "Actor::Customer(\"1\"): PENDING -> CANCELLED",
                "Actor::Admin(\"2\"): PENDING -> CANCELLED",
                "Actor::Admin(\"2\"): PAID -> DELIVERED",
                "Actor::Anyone: PENDING -> DELIVERED",
                "Actor::Anyone: PENDING -> CANCELLED",
                "Actor::Anyone: PAID -> DELIVERED",
            ]
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = |actor, from, to| check(&actor, from, to).unwrap_err();
        let conflict = refused(Actor::Anyone, Status::Cancelled, Status::Delivered);
        assert!(
            matches!(conflict, Error::Conflict(text) if text == "an order that is CANCELLED cannot become DELIVERED")
        );
        let unpaid = refused(Actor::Admin("2".into()), Status::Pending, Status::Delivered);
        assert!(matches!(unpaid, Error::Conflict(text) if text == "an order that is PENDING cannot become DELIVERED"));
        assert!(matches!(refused(Actor::Anyone, Status::Pending, Status::Paid), Error::Invalid(_)));
        assert!(matches!(refused(Actor::Anyone, Status::Paid, Status::Refunded), Error::Invalid(_)));
        let customer = || Actor::Customer("1".into());
        assert!(matches!(refused(customer(), Status::Pending, Status::Delivered), Error::Forbidden(_)));
        assert!(matches!(refused(customer(), Status::Pending, Status::Paid), Error::Forbidden(_)));
        assert!(matches!(refused(customer(), Status::Paid, Status::Cancelled), Error::Conflict(_)));
    }
}
