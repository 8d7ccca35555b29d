//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:products-component; world component {
        export store:products/catalog@1.0.0;
        export store:products/changes@1.0.0;
        export store:products/names@1.0.0;
        export souk:imports/rows@0.1.0;
    }",
    path: ["../../wit/products", "../../wit/imports"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::souk::imports::rows as imports;
pub(crate) use exports::store::products::{catalog, changes, names};

export!(Catalog with_types_in self);
use super::Catalog;
