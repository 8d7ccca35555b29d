//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:orders-component;
        world component {
            import store:products/catalog@1.0.0;
            import store:products/names@1.0.0;
            import store:payments/checkout@1.0.0;
            import store:payments/refunds@1.0.0;
            export store:orders/orders@1.0.0;
            export store:orders/refunds@1.0.0;
            export store:orders/history@1.0.0;
            export store:orders/payment-events@1.0.0;
            export store:orders/administration@1.0.0;
            export store:orders/timers@1.0.0;
            export souk:imports/rows@0.1.0;
        }",
    path: ["../../wit/products", "../../wit/payments", "../../wit/orders", "../../wit/imports"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::souk::imports::rows as imports;
pub(crate) use exports::store::orders::{administration, history, orders, payment_events, refunds, timers};
pub(crate) use store::payments::{checkout, refunds as provider};
pub(crate) use store::products::{catalog, names};

export!(Component with_types_in self);
use super::Component;
