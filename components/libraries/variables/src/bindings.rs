//! Bindings generated from `wit/deps` for `fermyon:spin/variables`. Generated code needs `unsafe`, which only this file
//! allows.
#![allow(
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

spin_sdk::wit_bindgen::generate!({
    inline: "package souk:variables; world imports { import fermyon:spin/variables@2.0.0; }",
    path: "wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub use fermyon::spin::variables::{Error, get};
