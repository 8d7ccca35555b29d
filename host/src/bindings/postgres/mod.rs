//! `spin:postgres`.

mod address;

pub use address::{Address, AddressError, MAX_CA_ROOT};
