//! Where data is, and how it moves to another place.
//!
//! A changed configuration can give a component a new, empty place. Without a check the application would simply start
//! without its data. So the state folder remembers where each store and database was ([`places`]), and a start refuses
//! an empty place if the previous one had rows, and a backup refuses other places. `souk store copy` moves the rows
//! ([`key_value`], and `souk_bindings::moving` for databases).

mod key_value;
mod places;
mod wrong_place;

pub(crate) use key_value::{CopyError, copy, must_be_empty};
pub(crate) use places::{accept, begin, check, end, finish, is_begun, must_match, store_place};
pub use wrong_place::{PlaceError, WrongPlace};

use souk_manifest::limits::FixedLimit;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [key_value::FIXED_LIMITS, places::FIXED_LIMITS].concat()
}
