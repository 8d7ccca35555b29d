//! What `wit/` generates for this component. Generated code needs `unsafe`; it is allowed here and nowhere else.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:nest-orders;
        world component {
            import store:orders/orders@1.0.0;
            import store:orders/payment-events@1.0.0;
            export nest:microservices/requests@1.0.0;
            export nest:microservices/events@1.0.0;
        }",
    path: ["../../wit/orders", "../../wit/nest"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::nest::microservices::{events, requests};
pub(crate) use store::orders::{orders, payment_events};

export!(Orders with_types_in self);
use super::Orders;
