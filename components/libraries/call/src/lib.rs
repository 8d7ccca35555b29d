//! What a component may know of the call that it answers.

mod bindings;

use std::time::Duration;

/// The id of the request that the call is part of, as the log has it; empty in unit tests, which are no call.
pub fn trace() -> String {
    if cfg!(target_family = "wasm") { bindings::trace() } else { String::new() }
}

/// How much time is left until the call is ended; without end in unit tests.
pub fn remaining() -> Duration {
    if cfg!(target_family = "wasm") { Duration::from_millis(bindings::remaining()) } else { Duration::MAX }
}
