//! Links.

mod check;
mod unavailable;
pub mod local;
