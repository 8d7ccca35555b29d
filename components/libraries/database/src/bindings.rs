//! Bindings generated from `wit/` for `spin:postgres`. Generated code needs `unsafe`, which only this file allows.
//!
//! spin-sdk has the same bindings behind its feature `pg`. That feature also enables chrono with its default features,
//! which a component would contain as dead code.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, reason = "the interface has more than this library uses")]

spin_sdk::wit_bindgen::generate!({
    inline: "package souk:database; world imports { import spin:postgres/postgres@4.2.0; }",
    path: "wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use spin::postgres::postgres;
