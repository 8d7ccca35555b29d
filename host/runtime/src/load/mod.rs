//! Converts a component's file before it is compiled: a core module becomes a component, and a component for a release
//! candidate of WASI 0.3 gets the names of the release.
//!
//! Both depend only on the file, so a digest of the original file identifies the component's code. A file that is
//! neither a module nor a component is not changed: the compiler reports what is wrong with it.

mod module;
mod release_candidate;

pub(crate) use module::NotAdapted;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use wasmparser::Parser;

/// `file`, or the component that it is converted to.
///
/// # Errors
/// When `file` is a core module that cannot be converted to a component.
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

/// The names of the exports of the component in `file`, which is not compiled for it; none when it cannot be read.
pub fn exports_of(file: &Path) -> BTreeSet<String> {
    let Ok(bytes) = std::fs::read(file) else { return BTreeSet::new() };
    component(&bytes).map(|component| release_candidate::exports(&component)).unwrap_or_default()
}
