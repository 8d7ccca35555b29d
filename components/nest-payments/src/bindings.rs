//! What `wit/` generates for this component. Generated code needs `unsafe`; it is allowed here and nowhere else.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:nest-payments;
        world component {
            import store:payments/checkout@1.0.0;
            export nest:microservices/requests@1.0.0;
        }",
    path: ["../../wit/payments", "../../wit/nest"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::nest::microservices::requests;
pub(crate) use store::payments::checkout;

export!(Payments with_types_in self);
use super::Payments;
