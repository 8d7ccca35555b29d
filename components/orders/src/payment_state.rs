//! Derives the state of an order from its charges: the one place that decides it.
//!
//! The state is a function of the facts alone (the order's status and all of its charges), not of the latest event. So
//! events may arrive in any order and more than once, with the same result.

use crate::bindings::orders::Status;

/// A charge for an order, over the full total of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The provider's id of the charge.
    pub id: String,
    /// The captured amount.
    pub amount_cents: u64,
    /// How much of it was refunded.
    pub refunded_cents: u64,
    /// The customer's receipt.
    pub receipt_url: Option<String>,
    /// When it was captured; while only a refund is known, the time of that refund.
    pub at: String,
}

impl Charge {
    fn left(&self) -> u64 {
        self.amount_cents.saturating_sub(self.refunded_cents)
    }
}

/// The state of an order, derived from its charges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PaymentState<'a> {
    /// Its status.
    pub status: Status,
    /// The charge that pays the order: the earliest that was not refunded in full, or the earliest of all if every
    /// charge was. Of charges at the same time, the one with the smaller id.
    pub paid_by: Option<&'a Charge>,
    /// How much was paid that must be refunded: the rest of all other charges, and for a cancelled order the rest of
    /// this one too.
    pub refund_due_cents: u64,
}

/// Derives the state of an order from its current status and its charges.
///
/// A status that was set by hand stays: a cancelled or delivered order that is paid or refunded stays cancelled or
/// delivered. Other orders follow the charge that pays them: PENDING without one, REFUNDED if it was refunded in full,
/// otherwise PAID.
pub(crate) fn payment_state(status: Status, charges: &[Charge]) -> PaymentState<'_> {
    let paid_by = charges.iter().min_by_key(|charge| (charge.left() == 0, &charge.at, &charge.id));
    let status = match (status, paid_by) {
        (Status::Cancelled | Status::Delivered, _) => status,
        (_, None) => Status::Pending,
        (_, Some(charge)) if charge.left() == 0 => Status::Refunded,
        (_, Some(_)) => Status::Paid,
    };
    let superfluous =
        |charge: &&Charge| status == Status::Cancelled || Some(charge.id.as_str()) != paid_by.map(|c| c.id.as_str());
    let refund_due_cents = charges.iter().filter(superfluous).map(Charge::left).fold(0, u64::saturating_add);
    PaymentState { status, paid_by, refund_due_cents }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(id: &str, refunded_cents: u64, second: u8) -> Charge {
        let at = format!("2024-02-27T15:50:{second:02}.000Z");
        Charge { id: id.into(), amount_cents: 100, refunded_cents, receipt_url: None, at }
    }

    fn state_of(status: Status, charges: &[Charge]) -> (Status, Option<&str>, u64) {
        let state = payment_state(status, charges);
        (state.status, state.paid_by.map(|c| c.id.as_str()), state.refund_due_cents)
    }

    #[test]
    fn a_pending_order_follows_its_charge() {
        assert_eq!(state_of(Status::Pending, &[]), (Status::Pending, None, 0));
        assert_eq!(state_of(Status::Pending, &[charge("a", 0, 1)]), (Status::Paid, Some("a"), 0));
        assert_eq!(state_of(Status::Pending, &[charge("a", 99, 1)]), (Status::Paid, Some("a"), 0));
        assert_eq!(state_of(Status::Pending, &[charge("a", 100, 1)]), (Status::Refunded, Some("a"), 0));
        assert_eq!(state_of(Status::Paid, &[charge("a", 100, 1)]), (Status::Refunded, Some("a"), 0));
    }

    #[test]
    fn a_payment_for_a_cancelled_order_is_kept_and_due_for_refund() {
        assert_eq!(state_of(Status::Cancelled, &[charge("a", 0, 1)]), (Status::Cancelled, Some("a"), 100));
        assert_eq!(state_of(Status::Cancelled, &[charge("a", 40, 1)]), (Status::Cancelled, Some("a"), 60));
        assert_eq!(state_of(Status::Cancelled, &[charge("a", 100, 1)]), (Status::Cancelled, Some("a"), 0));
    }

    #[test]
    fn a_delivered_order_stays_delivered_whatever_is_paid_or_refunded() {
        assert_eq!(state_of(Status::Delivered, &[charge("a", 0, 1)]), (Status::Delivered, Some("a"), 0));
        assert_eq!(state_of(Status::Delivered, &[charge("a", 100, 1)]), (Status::Delivered, Some("a"), 0));
    }

    #[test]
    fn the_earliest_charge_pays_and_the_rest_of_the_others_is_due_for_refund() {
        let both = [charge("a", 0, 2), charge("b", 0, 1)];
        assert_eq!(state_of(Status::Paid, &both), (Status::Paid, Some("b"), 100));
        let one_moment = [charge("b", 0, 1), charge("a", 30, 1)];
        assert_eq!(state_of(Status::Paid, &one_moment), (Status::Paid, Some("a"), 100));
        let partly_refunded = [charge("a", 0, 1), charge("b", 100, 2), charge("c", 1, 3)];
        assert_eq!(state_of(Status::Paid, &partly_refunded), (Status::Paid, Some("a"), 99));
    }

    #[test]
    fn a_charge_that_was_refunded_in_full_pays_only_if_no_other_has_a_rest() {
        let second = [charge("a", 100, 1), charge("b", 0, 2)];
        for status in [Status::Pending, Status::Paid, Status::Refunded] {
            assert_eq!(state_of(status, &second), (Status::Paid, Some("b"), 0));
        }
        let neither = [charge("b", 100, 2), charge("a", 100, 1)];
        assert_eq!(state_of(Status::Paid, &neither), (Status::Refunded, Some("a"), 0));
    }
}
