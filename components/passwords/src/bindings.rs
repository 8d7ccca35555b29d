//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:passwords-component; world component { export store:auth/passwords@1.0.0; }",
    path: "../../wit/auth",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::store::auth::passwords;

export!(Passwords with_types_in self);
use super::Passwords;
