//! Exports the HTTP handlers and the contract from `wit/`. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:stripe-sandbox-component; world component { export store:payments/sandbox-timers@1.0.0; }",
    path: "../../wit/payments",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::store::payments::sandbox_timers as timers;

export!(Sandbox with_types_in self);
souk_web::plain::export!(Sandbox with_types_in souk_web::plain::bindings);
spin_sdk::wasip3::http::service::export!(Sandbox with_types_in spin_sdk::wasip3);
use super::Sandbox;
