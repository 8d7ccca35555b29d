//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:webhook; world component { import store:orders/payment-events@1.0.0; }",
    path: "../../wit/orders",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    additional_derives: [PartialEq],
    generate_all,
});

pub(crate) use store::orders::orders::{DisputeState, Money};
pub(crate) use store::orders::payment_events;

souk_web::plain::export!(Webhook with_types_in souk_web::plain::bindings);
spin_sdk::wasip3::http::service::export!(Webhook with_types_in spin_sdk::wasip3);
use super::Webhook;
