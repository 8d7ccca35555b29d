//! What a component's file is made into before it is compiled: a core module becomes a component, and a component of a
//! release candidate of WASI 0.3 gets the names of the release.
//!
//! Both are functions of the file alone, so whoever names a component's code by a digest uses the file as it was given.
//! What is neither a module nor a component is left as it is: the compiler says what is wrong with it.

mod module;
mod release_candidate;

pub(crate) use module::NotAdapted;

use std::borrow::Cow;
use wasmparser::Parser;

/// The component that `file` is, or is made into.
///
/// # Errors
/// When `file` is a core module that no component can be made of.
pub(crate) fn component(file: &[u8]) -> Result<Cow<'_, [u8]>, NotAdapted> {
    let component = match Parser::is_core_wasm(file) {
        true => Cow::Owned(module::adapt(file)?),
        false => Cow::Borrowed(file),
    };
    Ok(match release_candidate::renamed(&component) {
        Some(renamed) => Cow::Owned(renamed),
        None => component,
    })
}
