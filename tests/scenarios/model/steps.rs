//! What may happen, and how often it does.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Something that somebody does. An [`Index`] picks one of what is there by then.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The customer orders pieces of each product; no pieces, no line.
    Order { key: Option<u8>, pieces: [u32; 3] },
    /// The administrator changes a price.
    Reprice { product: usize, cents: u64 },
    /// The customer asks for the page to pay on.
    Page { order: Index },
    /// The page ends; the provider says so.
    EndPage { order: Index },
    /// Somebody sets an order's status.
    Set { who: Who, order: Index, to: &'static str },
    /// The customer looks at the orders, of one status or all.
    List { status: Option<&'static str> },
    /// The provider tells of a charge.
    Tell { order: Index, news: News, flaw: Option<Flaw> },
    /// The provider tells again what it has told before.
    Repeat { event: Index },
    /// The provider tells of the end of a page that the order does not have.
    OtherPage { order: Index },
}

/// Who sets a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Owner,
    Admin,
    Stranger,
}

/// What is told of one of an order's charges, `at` so many seconds.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub charge: usize,
    pub at: u64,
    /// How much was given back, in hundredths of the whole; none where it tells of the payment.
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

/// Any sequence.
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
