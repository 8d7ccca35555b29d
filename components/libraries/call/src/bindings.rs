//! Bindings generated from `wit/deps` for `souk:call/context`. Generated code needs `unsafe`, which only this file
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
    inline: "package souk:call-library; world imports { import souk:call/context@1.0.0; }",
    path: "wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use souk::call::context::{remaining, trace};
