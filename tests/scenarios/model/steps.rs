//! The possible steps, and their frequencies.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One action. An [`Index`] picks an order or event that exists by then.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The customer orders this many pieces of each product; a product with 0 pieces gets no line.
    Order { key: Option<u8>, pieces: [u32; 3] },
    /// The administrator changes a price.
    Reprice { product: usize, cents: u64 },
    /// The customer requests the payment page.
    Page { order: Index },
    /// The payment page expires, and the provider sends the event.
    EndPage { order: Index },
    /// A user sets an order's status.
    Set { who: Who, order: Index, to: &'static str },
    /// The customer lists the orders, with one status or all of them.
    List { status: Option<&'static str> },
    /// The provider sends an event about a charge.
    Tell { order: Index, news: News, flaw: Option<Flaw> },
    /// The provider repeats an event.
    Repeat { event: Index },
    /// The provider sends the expiry of a page that is not the order's.
    OtherPage { order: Index },
}

/// Who sets a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Owner,
    Admin,
    Stranger,
}

/// An event about one of an order's charges. `at` is the charge's time, in seconds after `START`.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub charge: usize,
    pub at: u64,
    /// The refunded part in percent; `None` for the payment itself.
    pub refunded: Option<u64>,
}

/// Why an event does not fit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flaw {
    Amount(i64),
    Currency,
    NoOrder,
}

/// Every status, as the API writes it.
pub(super) const STATUSES: [&str; 5] = ["PENDING", "PAID", "DELIVERED", "CANCELLED", "REFUNDED"];

/// A random sequence.
pub(super) fn sequence() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..25)
}

fn step() -> impl Strategy<Value = Step> {
    let order = any::<Index>;
    let pieces = || {
        let some = prop_oneof![1 => Just(0), 3 => 1..5u32, 1 => 100..1000u32];
        [some.clone(), some.clone(), some].prop_filter("an order has a line", |pieces| pieces.iter().any(|n| *n > 0))
    };
    let key = prop_oneof![Just(None), (0..4u8).prop_map(Some)];
    let who = select(vec![Who::Owner, Who::Owner, Who::Admin, Who::Admin, Who::Stranger]);
    let to = select(vec!["CANCELLED", "CANCELLED", "DELIVERED", "DELIVERED", "PENDING", "PAID", "REFUNDED"]);
    let refunded = prop_oneof![3 => Just(None), 2 => (1..100u64).prop_map(Some), 1 => Just(Some(100))];
    let news = (0..2usize, 0..4u64, refunded).prop_map(|(charge, at, refunded)| News { charge, at, refunded });
    let flaw = prop_oneof![select(vec![-1, 1, 100]).prop_map(Flaw::Amount), Just(Flaw::Currency), Just(Flaw::NoOrder)];
    let flaw = prop_oneof![4 => Just(None), 1 => flaw.prop_map(Some)];
    prop_oneof![
        6 => (key, pieces()).prop_map(|(key, pieces)| Step::Order { key, pieces }),
        1 => (0..3usize, 50..100_000u64).prop_map(|(product, cents)| Step::Reprice { product, cents }),
        2 => order().prop_map(|order| Step::Page { order }),
        1 => order().prop_map(|order| Step::EndPage { order }),
        4 => (who, order(), to).prop_map(|(who, order, to)| Step::Set { who, order, to }),
        1 => proptest::option::of(select(STATUSES.to_vec())).prop_map(|status| Step::List { status }),
        8 => (order(), news, flaw).prop_map(|(order, news, flaw)| Step::Tell { order, news, flaw }),
        2 => any::<Index>().prop_map(|event| Step::Repeat { event }),
        1 => order().prop_map(|order| Step::OtherPage { order }),
    ]
}
