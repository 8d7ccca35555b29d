//! What exports the HTTP handler. Generated code needs `unsafe`; it is allowed here and nowhere else.
#![allow(unsafe_code)]

spin_sdk::wasip3::http::service::export!(Sandbox with_types_in spin_sdk::wasip3);
use super::Sandbox;
