//! How many orders of one customer may wait for their payment: the variable `max_open_orders`. Without a bound one customer
//! could fill the database.
//!
//! The database decides, in the statement that makes the order ([`crate::sql::CREATE`], [`crate::sql::CREATE_AT_ONCE`]), so
//! that calls at once do not pass the bound together. Ten times as many may have been cancelled within 24 hours: an order
//! that is cancelled takes as much room, and would else make way for the next.

use crate::bindings::orders::Error;
use std::cell::Cell;

/// The variable.
const VARIABLE: &str = "max_open_orders";
/// The largest value.
const MAX: u32 = 1_000_000;

/// The bound, read once in an instance's life.
///
/// # Errors
/// `internal` when it is not set, or no bound.
pub(crate) fn max_open_orders() -> Result<u32, Error> {
    thread_local! {
        static READ: Cell<Option<u32>> = const { Cell::new(None) };
    }
    if let Some(max) = READ.get() {
        return Ok(max);
    }
    let unusable = |detail: String| {
        eprintln!("variable `{VARIABLE}`: {detail}");
        Error::Internal("the most orders that may wait for their payment is not set".into())
    };
    let text = souk_variables::get(VARIABLE).map_err(|e| unusable(e.to_string()))?;
    let max = bound(&text).ok_or_else(|| unusable(format!("{text:?} is no whole number from 1 to {MAX}")))?;
    READ.set(Some(max));
    Ok(max)
}

fn bound(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|max| digits && (1..=MAX).contains(max))
}

/// The error of a customer who has too many.
pub(crate) fn exceeded(max: u32) -> Error {
    Error::TooManyOpen(format!(
        "no more than {max} orders may wait for their payment, and {} be cancelled within 24 hours: pay or cancel some, or try \
         again later",
        u64::from(max) * 10
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_whole_number_of_at_least_one() {
        for (good, max) in [("1", 1), ("50", 50), ("1000000", 1_000_000)] {
            assert_eq!(bound(good), Some(max));
        }
        for bad in ["", "0", "-1", "+5", "1.5", " 5", "1000001", "99999999999", "none"] {
            assert_eq!(bound(bad), None, "{bad:?}");
        }
    }
}
