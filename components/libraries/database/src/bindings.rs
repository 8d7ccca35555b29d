//! What `wit/` generates for `spin:postgres`. Generated code needs `unsafe`; it is allowed here and nowhere else.
//!
//! spin-sdk has the same bindings behind its feature `pg`, which also brings chrono with all that its defaults switch
//! on: for this component dead code, and for whatever else the workspace builds with chrono other features.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, reason = "the interface has more than this library uses")]

spin_sdk::wit_bindgen::generate!({
    inline: "package souk:database; world imports { import spin:postgres/postgres@4.2.0; }",
    path: "wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use spin::postgres::postgres;
