//! Exports the HTTP handlers. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code)]

souk_web::plain::export!(Sandbox with_types_in souk_web::plain::bindings);
spin_sdk::wasip3::http::service::export!(Sandbox with_types_in spin_sdk::wasip3);
use super::Sandbox;
