//! Bindings generated from `wit/` for `wasi:keyvalue`. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package souk:key-value; world imports {
        import wasi:keyvalue/store@0.2.0-draft2;
        import wasi:keyvalue/atomics@0.2.0-draft2;
    }",
    path: "wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use wasi::keyvalue::{atomics, store};
