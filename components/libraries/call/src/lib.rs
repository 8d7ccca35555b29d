//! What a component can find out about the call that it answers.
//!
//! ```no_run
//! if souk_call::remaining() < std::time::Duration::from_secs(1) {
//!     eprintln!("request {} has too little time left", souk_call::request_id());
//! }
//! ```

mod bindings;

use std::time::Duration;

/// The id of the request to which the call belongs, as in the log; empty in unit tests, which have no call.
pub fn request_id() -> String {
    if cfg!(target_family = "wasm") { bindings::trace() } else { String::new() }
}

/// How much time is left until the call's deadline; unlimited in unit tests.
pub fn remaining() -> Duration {
    if cfg!(target_family = "wasm") { Duration::from_millis(bindings::remaining()) } else { Duration::MAX }
}
