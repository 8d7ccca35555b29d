//! Exports the HTTP handler. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code)]

spin_sdk::wasip3::http::service::export!(Sandbox with_types_in spin_sdk::wasip3);
use super::Sandbox;
