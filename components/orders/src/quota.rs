//! How many orders of one customer may wait for their payment: the variable `max_open_orders`. Without a limit one
//! customer could fill the database.
//!
//! The database checks the limit in the statement that creates the order ([`crate::sql::CREATE`],
//! [`crate::sql::CREATE_AT_ONCE`]), so that concurrent calls cannot exceed it together. Ten times as many orders may be
//! cancelled within 24 hours: a cancelled order takes as much space as an open one, and without this second limit a
//! customer could create and cancel orders without end.

use crate::bindings::orders::Error;
use std::cell::Cell;

/// The variable.
const VARIABLE: &str = "max_open_orders";
/// The largest value.
const MAX: u32 = 1_000_000;

/// The limit, read once per instance.
///
/// # Errors
/// `internal` when the variable is not set, or is not a limit.
pub(crate) fn max_open_orders() -> Result<u32, Error> {
    thread_local! {
        static READ: Cell<Option<u32>> = const { Cell::new(None) };
    }
    if let Some(max) = READ.get() {
        return Ok(max);
    }
    let unusable = |detail: String| {
        eprintln!("variable `{VARIABLE}`: {detail}");
        Error::Internal("the limit of orders that may wait for their payment is not set".into())
    };
    let text = souk_variables::get(VARIABLE).map_err(|e| unusable(e.to_string()))?;
    let max = parse_limit(&text).ok_or_else(|| unusable(format!("{text:?} is not a whole number from 1 to {MAX}")))?;
    READ.set(Some(max));
    Ok(max)
}

fn parse_limit(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|max| digits && (1..=MAX).contains(max))
}

/// The error for a customer who has too many orders.
pub(crate) fn exceeded(max: u32) -> Error {
    Error::TooManyOpen(format!(
        "no more than {max} orders may wait for their payment, and no more than {} may be cancelled within 24 hours: \
         pay or cancel some, or try again later",
        u64::from(max) * 10
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_whole_number_from_one_to_a_million() {
        for (good, max) in [("1", 1), ("50", 50), ("1000000", 1_000_000)] {
            assert_eq!(parse_limit(good), Some(max));
        }
        for bad in ["", "0", "-1", "+5", "1.5", " 5", "1000001", "99999999999", "none"] {
            assert_eq!(parse_limit(bad), None, "{bad:?}");
        }
    }
}
