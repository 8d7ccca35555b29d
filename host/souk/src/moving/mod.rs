//! Where data is, and how it gets elsewhere.
//!
//! A change of the configuration gives a component another, empty place, and nothing else would say so: the shop would
//! open without its customers. The state folder therefore remembers where each store and database was ([`places`]), and
//! a start that finds an empty place where the one before had rows refuses. `souk store copy` moves the rows
//! ([`key_value`], and `souk_bindings::moving` for databases).

mod key_value;
mod places;

pub(crate) use key_value::{CopyError, copy};
pub use places::PlaceError;
pub(crate) use places::{accept, begin, check, end, fixed_limits, store_place};
