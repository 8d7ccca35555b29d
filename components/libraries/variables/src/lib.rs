//! The application's variables, read by a synchronous function.
//!
//! What a `func` export waits for must be a `func` too: a component that calls an `async func` there traps ("cannot block a
//! synchronous task before returning"). spin-sdk reads variables by `spin:variables`, which is `async`; this is the same by
//! Spin's older `fermyon:spin/variables`, which is not.
//!
//! ```no_run
//! let currency = souk_variables::get("currency").unwrap_or_else(|_| "usd".to_owned());
//! ```

mod bindings;

pub use bindings::Error;

/// The value of a variable that the manifest grants to the component.
///
/// # Errors
/// When it is not defined, or not granted.
pub fn get(name: &str) -> Result<String, Error> {
    bindings::get(name)
}
