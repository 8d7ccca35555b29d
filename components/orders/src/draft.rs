//! Checks and prices the items that a caller wants to buy. It stores nothing and calls nobody.

use crate::bindings::catalog::Product;
use crate::bindings::orders::{Error, Item, NewItem};
use std::collections::BTreeMap;

/// The most lines of an order.
pub(crate) const MAX_LINES: usize = 1000;
/// The most pieces on one line.
pub(crate) const MAX_QUANTITY: u32 = 1_000_000;
/// The most characters of a product's name that an order keeps. The catalogue allows longer names, and an order may
/// repeat a name a thousand times.
const MAX_NAME_CHARS: usize = 255;
/// The highest total of an order, in cents: eight digits, the most that Stripe accepts in most currencies
/// (<https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>). Nobody could pay more.
pub(crate) const MAX_TOTAL_CENTS: u64 = 99_999_999;

/// An order that has been checked and priced.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its lines, in the given order.
    pub items: Vec<Item>,
    /// The total of all lines: 1 to [`MAX_TOTAL_CENTS`].
    pub total_cents: u64,
    /// The sum of the quantities of all lines.
    pub total_items: u64,
}

/// Checks what can be checked without the catalogue.
pub(crate) fn check(items: &[NewItem]) -> Result<(), Error> {
    if !(1..=MAX_LINES).contains(&items.len()) {
        return Err(Error::Invalid(format!("an order must have 1 to {MAX_LINES} items")));
    }
    match items.iter().position(|item| !(1..=MAX_QUANTITY).contains(&item.quantity)) {
        Some(line) => Err(Error::Invalid(format!("items.{line}.quantity must be from 1 to {MAX_QUANTITY}"))),
        None => Ok(()),
    }
}

/// Prices checked items with the current prices of the catalogue.
///
/// # Errors
/// `unknown-products` when an item's product is not among `products`; `invalid` when the sum is zero or too large.
pub(crate) fn price(items: &[NewItem], products: &[Product]) -> Result<Draft, Error> {
    let products: BTreeMap<u64, &Product> = products.iter().map(|product| (product.id, product)).collect();
    let mut draft = Draft { items: Vec::with_capacity(items.len()), total_cents: 0, total_items: 0 };
    for NewItem { product_id, quantity } in items {
        let product = products.get(product_id).ok_or_else(|| Error::UnknownProducts(vec![*product_id]))?;
        draft.total_cents = product
            .price
            .cents
            .checked_mul((*quantity).into())
            .and_then(|line| line.checked_add(draft.total_cents))
            .filter(|total| *total <= MAX_TOTAL_CENTS)
            .ok_or_else(|| {
                Error::Invalid(format!(
                    "an order must not cost more than {}.{:02}",
                    MAX_TOTAL_CENTS / 100,
                    MAX_TOTAL_CENTS % 100
                ))
            })?;
        draft.total_items += u64::from(*quantity);
        draft.items.push(Item {
            product_id: *product_id,
            name: product.name.chars().take(MAX_NAME_CHARS).collect(),
            unit_cents: product.price.cents,
            quantity: *quantity,
        });
    }
    if draft.total_cents == 0 {
        return Err(Error::Invalid("an order must cost more than 0: there would be nothing to pay".into()));
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::catalog::Money;
    use proptest::prelude::*;

    fn product(id: u64, cents: u64) -> Product {
        let at = "2024-02-27T15:50:27.545Z".to_owned();
        let price = Money { cents };
        Product { id, name: format!("no. {id}"), price, available: true, created_at: at.clone(), updated_at: at }
    }

    fn items(lines: &[(u64, u32)]) -> Vec<NewItem> {
        lines.iter().map(|(product_id, quantity)| NewItem { product_id: *product_id, quantity: *quantity }).collect()
    }

    #[test]
    fn the_total_is_the_sum_of_all_lines() {
        let draft = price(&items(&[(1, 3), (2, 1), (1, 1)]), &[product(1, 1000), product(2, 10)]).unwrap();
        assert_eq!((draft.total_cents, draft.total_items), (4010, 5));
        let lines: Vec<_> =
            draft.items.iter().map(|i| (i.product_id, i.name.as_str(), i.unit_cents, i.quantity)).collect();
        assert_eq!(lines, [(1, "no. 1", 1000, 3), (2, "no. 2", 10, 1), (1, "no. 1", 1000, 1)]);
    }

    #[test]
    fn only_the_beginning_of_a_long_name_is_kept() {
        let named = |name: &str| Product { name: name.into(), ..product(1, 5) };
        for (name, kept) in
            [("é".repeat(255), 255), ("é".repeat(256), 255), ("a".repeat(100_000), 255), (" ".into(), 1)]
        {
            let draft = price(&items(&[(1, 1)]), &[named(&name)]).unwrap();
            assert_eq!(draft.items[0].name, name.chars().take(kept).collect::<String>());
        }
    }

    #[test]
    fn lines_and_quantities_have_bounds() {
        assert!(matches!(check(&[]), Err(Error::Invalid(_))));
        assert!(check(&items(&[(1, 1); MAX_LINES])).is_ok());
        assert!(matches!(check(&items(&[(1, 1); MAX_LINES + 1])), Err(Error::Invalid(_))));
        assert!(check(&items(&[(1, MAX_QUANTITY)])).is_ok());
        for quantity in [0, MAX_QUANTITY + 1, u32::MAX] {
            let refused = check(&items(&[(1, 1), (1, quantity)]));
            assert!(matches!(refused, Err(Error::Invalid(text)) if text.starts_with("items.1.quantity ")));
        }
    }

    #[test]
    fn a_total_of_zero_or_above_the_limit_is_refused() {
        let total = |cents, quantity| price(&items(&[(1, quantity)]), &[product(1, cents)]).map(|d| d.total_cents);
        assert!(matches!(total(0, 5), Err(Error::Invalid(text)) if text.contains("more than 0")));
        assert_eq!(total(MAX_TOTAL_CENTS, 1).unwrap(), MAX_TOTAL_CENTS);
        assert!(matches!(total(MAX_TOTAL_CENTS, 2), Err(Error::Invalid(_))));
        assert!(matches!(total(u64::MAX, MAX_QUANTITY), Err(Error::Invalid(_))));
        let lines = items(&[(1, 1), (2, 1)]);
        assert!(price(&lines, &[product(1, 0), product(2, 1)]).is_ok(), "a gift beside a paid line is an order");
        assert!(matches!(price(&lines, &[product(1, u64::MAX), product(2, 1)]), Err(Error::Invalid(_))));
    }

    #[test]
    fn a_product_that_the_catalogue_does_not_return_is_unknown() {
        assert!(
            matches!(price(&items(&[(1, 1), (2, 1)]), &[product(1, 5)]), Err(Error::UnknownProducts(ids)) if ids == [2])
        );
    }

    proptest! {
        #[test]
        fn totals_are_exact_or_refused(lines in prop::collection::vec((any::<u64>(), 1..=MAX_QUANTITY), 1..50)) {
            // Small and huge prices alike.
            let products = (0..).zip(&lines).map(|(id, (price, _))| product(id, price >> (price % 64)));
            let products: Vec<_> = products.collect();
            let wanted: Vec<_> = (0..).zip(&lines).map(|(id, (_, quantity))| (id, *quantity)).collect();
            let prices = products.iter().map(|product| u128::from(product.price.cents));
            let exact: u128 = prices.zip(&lines).map(|(price, (_, quantity))| price * u128::from(*quantity)).sum();
            match price(&items(&wanted), &products) {
                Ok(draft) => {
                    prop_assert_eq!(u128::from(draft.total_cents), exact);
                    prop_assert!((1..=MAX_TOTAL_CENTS).contains(&draft.total_cents));
                    prop_assert_eq!(draft.total_items, lines.iter().map(|(_, q)| u64::from(*q)).sum::<u64>());
                }
                Err(Error::Invalid(_)) => prop_assert!(exact == 0 || exact > u128::from(MAX_TOTAL_CENTS)),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
