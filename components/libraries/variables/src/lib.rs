//! The application's variables, read by a synchronous function.
//!
//! The contracts of the store are `func`s, and what a `func` export waits for must be a `func` too: a component that
//! calls an `async func` there traps ("cannot block a synchronous task before returning"). spin-sdk reads variables by
//! `spin:variables`, which is `async`; this is the same by Spin's older `fermyon:spin/variables`, which is not.

mod bindings;

pub use bindings::Error;

/// The value of a variable that the manifest grants to the component.
///
/// # Errors
/// When it is not defined, or not granted.
pub fn get(name: &str) -> Result<String, Error> {
    bindings::get(name)
}
