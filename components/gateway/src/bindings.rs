//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:gateway;
        world component {
            import store:auth/accounts@1.0.0;
            import store:auth/directory@1.0.0;
            import store:auth/guesses@1.0.0;
            import store:auth/self-service@1.0.0;
            import store:orders/orders@1.0.0;
            import store:orders/history@1.0.0;
            import store:orders/refunds@1.0.0;
            import store:products/catalog@1.0.0;
            import store:products/changes@1.0.0;
        }",
    path: ["../../wit/auth", "../../wit/orders", "../../wit/products"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use store::auth::{accounts, directory, guesses, self_service};
pub(crate) use store::orders::{history as order_history, orders, refunds};
pub(crate) use store::products::{catalog, changes as product_changes};

souk_web::plain::export!(Gateway with_types_in souk_web::plain::bindings);
spin_sdk::wasip3::http::service::export!(Gateway with_types_in spin_sdk::wasip3);
use super::Gateway;
