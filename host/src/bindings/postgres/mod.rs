//! `spin:postgres`.

mod address;

pub use address::{Address, AddressError};
