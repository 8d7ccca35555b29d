//! The application's variables, with a synchronous function.
//!
//! A `func` export can wait only for another `func`: if it calls an `async func`, the component traps ("cannot block a
//! synchronous task before returning"). spin-sdk reads variables with `spin:variables`, which is `async`. This library
//! uses Spin's older `fermyon:spin/variables`, which is synchronous.
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
