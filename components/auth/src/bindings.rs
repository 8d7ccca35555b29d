//! Bindings generated from `wit/` for this component. Generated code needs `unsafe`, which only this file allows.
#![allow(unsafe_code, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

spin_sdk::wit_bindgen::generate!({
    inline: "package store:auth-component; world component {
        import wasi:keyvalue/store@0.2.0-draft2;
        import wasi:keyvalue/atomics@0.2.0-draft2;
        import wasi:keyvalue/batch@0.2.0-draft2;
        import store:auth/passwords@1.0.0;
        export store:auth/accounts@1.0.0;
        export store:auth/administration@1.0.0;
        export store:auth/directory@1.0.0;
        export store:auth/guesses@1.0.0;
        export store:auth/self-service@1.0.0;
        export store:auth/timers@1.0.0;
        export souk:imports/rows@0.1.0;
    }",
    path: ["../../wit/deps/wasi-keyvalue-2024-10-17", "../../wit/auth", "../../wit/imports"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

pub(crate) use exports::souk::imports::rows;
pub(crate) use exports::store::auth::{accounts, administration, directory, guesses, self_service, timers};
pub(crate) use store::auth::passwords;
pub(crate) use wasi::keyvalue::{atomics, batch, store as buckets};

export!(Auth with_types_in self);
use super::Auth;
