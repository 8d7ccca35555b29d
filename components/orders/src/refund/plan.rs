//! Decides from which charges a refund is taken, and how much from each. It depends only on what is known about the
//! order.

use crate::bindings::orders::Status;
use crate::payment_state::{Charge, payment_state};
use std::collections::{BTreeMap, BTreeSet};

/// The refunds of one charge so far.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Asked {
    /// Refunds in progress. The charge's own refunded amount may include them already; they count in full either way.
    pub under_way: u64,
    /// Refunded according to the events of the refunds; the event of the charge may be late.
    pub succeeded: u64,
}

/// The parts of a refund: the id of a charge, and how many cents of it.
pub(crate) type Parts = Vec<(String, u64)>;

/// Takes `cents`, or all that can be refunded, from the charges of an order: first from the charges that the order did
/// not need, the oldest first, and last from the charge that pays it. A `contested` charge is left out.
///
/// # Errors
/// How much can be refunded, if that is less than `cents` or zero.
pub(crate) fn plan(
    status: Status,
    charges: &[Charge],
    asked: &BTreeMap<String, Asked>,
    contested: &BTreeSet<String>,
    cents: Option<u64>,
) -> Result<Parts, u64> {
    let paid_by = payment_state(status, charges).paid_by.map(|charge| charge.id.as_str());
    let mut sorted: Vec<&Charge> = charges.iter().filter(|charge| !contested.contains(&charge.id)).collect();
    sorted.sort_by_key(|charge| (Some(charge.id.as_str()) == paid_by, &charge.at, &charge.id));
    let left: Vec<(&Charge, u64)> = sorted
        .into_iter()
        .map(|charge| {
            let Asked { under_way, succeeded } = asked.get(&charge.id).copied().unwrap_or_default();
            let gone = charge.refunded_cents.max(succeeded).saturating_add(under_way);
            (charge, charge.amount_cents.saturating_sub(gone))
        })
        .collect();
    let all = left.iter().fold(0_u64, |all, (_, left)| all.saturating_add(*left));
    let wanted = cents.unwrap_or(all);
    if wanted == 0 || wanted > all {
        return Err(all);
    }
    let mut missing = wanted;
    let parts = left.into_iter().map(|(charge, left)| {
        let part = left.min(missing);
        missing -= part;
        (charge.id.clone(), part)
    });
    Ok(parts.filter(|(_, part)| *part > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn charge(id: &str, refunded_cents: u64, second: u8) -> Charge {
        let at = format!("2024-02-27T15:50:{second:02}.000Z");
        Charge { id: id.into(), amount_cents: 100, refunded_cents, receipt_url: None, at }
    }

    fn parts(charges: &[Charge], cents: Option<u64>) -> Result<Vec<(String, u64)>, u64> {
        plan(Status::Paid, charges, &BTreeMap::new(), &BTreeSet::new(), cents)
    }

    fn part(id: &str, cents: u64) -> (String, u64) {
        (id.to_owned(), cents)
    }

    #[test]
    fn charges_that_the_order_did_not_need_are_refunded_first() {
        let twice = [charge("a", 0, 1), charge("b", 0, 2)];
        assert_eq!(parts(&twice, Some(100)), Ok(vec![part("b", 100)]));
        assert_eq!(parts(&twice, Some(130)), Ok(vec![part("b", 100), part("a", 30)]));
        assert_eq!(parts(&twice, None), Ok(vec![part("b", 100), part("a", 100)]));
        assert_eq!(parts(&twice, Some(201)), Err(200));
        assert_eq!(parts(&[charge("a", 100, 1)], None), Err(0));
        assert_eq!(parts(&[], Some(1)), Err(0));
    }

    #[test]
    fn refunds_in_progress_and_contested_charges_are_not_refunded_again() {
        let asked = BTreeMap::from([("a".to_owned(), Asked { under_way: 30, succeeded: 20 })]);
        let one = |refunded, contested: &BTreeSet<String>| {
            plan(Status::Paid, &[charge("a", refunded, 1)], &asked, contested, None)
        };
        let none = BTreeSet::new();
        // The charge's own refunded amount may be late, or ahead.
        assert_eq!(one(0, &none), Ok(vec![part("a", 50)]));
        assert_eq!(one(20, &none), Ok(vec![part("a", 50)]));
        assert_eq!(one(50, &none), Ok(vec![part("a", 20)]));
        assert_eq!(one(0, &BTreeSet::from(["a".to_owned()])), Err(0));
    }

    proptest! {
        #[test]
        fn a_plan_takes_the_requested_amount_and_never_more_than_is_left(
            refunded in proptest::collection::vec((0_u64..=100, 0_u64..=100, 0_u64..=100), 0..5),
            cents in proptest::option::of(0_u64..600),
        ) {
            let charges: Vec<Charge> =
                refunded.iter().enumerate().map(|(i, (r, ..))| charge(&format!("c{i}"), *r, i as u8)).collect();
            let asked: BTreeMap<String, Asked> = refunded
                .iter()
                .enumerate()
                .map(|(i, (_, u, s))| (format!("c{i}"), Asked { under_way: *u, succeeded: *s }))
                .collect();
            let left = |id: &str| {
                let i: usize = id[1..].parse().unwrap();
                let (r, u, s) = refunded[i];
                100_u64.saturating_sub(r.max(s) + u)
            };
            let all: u64 = charges.iter().map(|charge| left(&charge.id)).sum();
            match plan(Status::Paid, &charges, &asked, &BTreeSet::new(), cents) {
                Ok(parts) => {
                    prop_assert!(parts.iter().all(|(id, part)| *part > 0 && *part <= left(id)));
                    prop_assert_eq!(parts.iter().map(|(_, part)| part).sum::<u64>(), cents.unwrap_or(all));
                }
                Err(most) => {
                    prop_assert_eq!(most, all);
                    prop_assert!(cents.unwrap_or(all) == 0 || cents.unwrap_or(all) > all);
                }
            }
        }
    }
}
