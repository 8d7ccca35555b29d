//! Checks at start-up that the importer and the exporter of a link mean the same types, and that their values can cross
//! the link.
//!
//! Types are compared by structure, as wasmtime compares them when a host function is called, so two components built
//! from the same WIT always agree. An error names the first place that differs and shows both signatures: two whole
//! records side by side would hide the one field that differs.
//!
//! It makes no difference whether a function is `async`: a link joins a `func` with an `async func`, so that components
//! whose language or handler has no `async` can call, and be called by, components that have it.
//!
//! A callee may have a newer contract than its caller: types that differ only in optional fields and cases are linked
//! if every value has exactly one equivalent on the other side ([`FunctionCodec::can_call`]). Versions are part of an
//! interface's name and must match exactly.

use souk_codec::signature::{signature, type_text};
use souk_codec::{CodecError, FunctionCodec};
use wasmtime::component::types::{ComponentFunc, Type};

/// What is wrong with a function, and what fixes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// What is wrong; several lines when signatures differ.
    pub problem: String,
    /// What fixes it.
    pub fix: String,
}

impl Mismatch {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Mismatch { problem: problem.into(), fix: fix.into() }
    }
}

/// Why a function cannot be linked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{interface}#{function}`: {problem}")]
pub struct LinkTypeError {
    /// The interface with its version.
    pub interface: String,
    /// The function, or another item of the interface.
    pub function: String,
    /// What is wrong; several lines when signatures differ.
    pub problem: String,
    /// What fixes it.
    pub fix: String,
}

impl LinkTypeError {
    pub(super) fn new(interface: &str, function: &str, Mismatch { problem, fix }: Mismatch) -> Self {
        LinkTypeError { interface: interface.to_owned(), function: function.to_owned(), problem, fix }
    }

    /// A type that the codec cannot write as JSON.
    pub(super) fn not_json(interface: &str, function: &str, error: &CodecError) -> Self {
        let problem = format!("has a type that JSON cannot represent: {error}");
        LinkTypeError::new(interface, function, Mismatch::new(problem, "use an id, a list or a record in its place"))
    }

    /// An item of an imported interface that is a resource or a module.
    pub(super) fn not_a_function(interface: &str, item: &str) -> Self {
        let problem = "is a resource or a module; only functions of plain values can cross a link";
        LinkTypeError::new(interface, item, Mismatch::new(problem, "use an id in its place"))
    }
}

/// Checks that values can cross a link through this function: no handles, and nothing else that
/// [`FunctionCodec::of`] refuses. A local link needs no JSON, but the same link may be remote tomorrow.
///
/// # Errors
/// Names the place in the type and the fix.
pub fn plain_values(interface: &str, function: &str, func: &ComponentFunc) -> Result<(), LinkTypeError> {
    plain(interface, function, func).map(|_| ())
}

fn plain(interface: &str, function: &str, func: &ComponentFunc) -> Result<FunctionCodec, LinkTypeError> {
    let error = match FunctionCodec::of(func) {
        Ok(codec) => return Ok(codec),
        Err(error) => error,
    };
    let problem = format!(
        "`{}` has a type that cannot cross a link: {}; only plain values \
                           can",
        error.path, error.message
    );
    let fix = "use an id, a list or a record in its place";
    Err(LinkTypeError::new(interface, function, Mismatch::new(problem, fix)))
}

/// Checks that both sides of a link have the same function, or that the exporter's is a compatible extension, and that
/// its values can cross the link. Whether it is `async` does not matter.
///
/// # Errors
/// Names the first difference and shows both signatures, or names the type that is not a plain value.
pub fn check_function(
    interface: &str,
    function: &str,
    importer: &ComponentFunc,
    exporter: &ComponentFunc,
) -> Result<(), LinkTypeError> {
    let (of_importer, of_exporter) = (plain(interface, function, importer)?, plain(interface, function, exporter)?);
    let Some(difference) = function_difference(importer, exporter) else { return Ok(()) };
    if of_importer.can_call(&of_exporter) {
        return Ok(());
    }
    let problem = format!(
        "importer and exporter differ: {difference}\n  importer: {}\n  exporter: {}",
        signature(function, importer),
        signature(function, exporter),
    );
    let fix = "build both components from the same version of the contract";
    Err(LinkTypeError::new(interface, function, Mismatch::new(problem, fix)))
}

fn function_difference(importer: &ComponentFunc, exporter: &ComponentFunc) -> Option<String> {
    let (of_importer, of_exporter) = (importer.params().map(|(name, _)| name), exporter.params().map(|(name, _)| name));
    names_difference("the function", "parameter", of_importer, of_exporter)
        .or_else(|| {
            let mut pairs = importer.params().zip(exporter.params());
            pairs.find_map(|((name, a), (_, b))| difference(&format!("parameter `{name}`"), &a, &b))
        })
        .or_else(|| optional_difference("the result", importer.results().next(), exporter.results().next()))
}

/// The first difference between two types. `at` is their place in the function's type.
fn difference(at: &str, importer: &Type, exporter: &Type) -> Option<String> {
    if importer == exporter {
        return None;
    }
    let deeper = match (importer, exporter) {
        (Type::List(a), Type::List(b)) => difference(&format!("the element of {at}"), &a.ty(), &b.ty()),
        (Type::FixedLengthList(a), Type::FixedLengthList(b)) => {
            difference(&format!("the element of {at}"), &a.ty(), &b.ty())
        }
        (Type::Map(a), Type::Map(b)) => difference(&format!("the key of {at}"), &a.key(), &b.key())
            .or_else(|| difference(&format!("the value of {at}"), &a.value(), &b.value())),
        (Type::Option(a), Type::Option(b)) => difference(&format!("the value of {at}"), &a.ty(), &b.ty()),
        (Type::Result(a), Type::Result(b)) => optional_difference(&format!("the ok of {at}"), a.ok(), b.ok())
            .or_else(|| optional_difference(&format!("the err of {at}"), a.err(), b.err())),
        (Type::Tuple(a), Type::Tuple(b)) if a.types().len() == b.types().len() => a
            .types()
            .zip(b.types())
            .enumerate()
            .find_map(|(i, (a, b))| difference(&format!("item {} of {at}", i + 1), &a, &b)),
        (Type::Record(a), Type::Record(b)) => {
            names_difference(at, "field", a.fields().map(|f| f.name), b.fields().map(|f| f.name)).or_else(|| {
                let mut pairs = a.fields().zip(b.fields());
                pairs.find_map(|(a, b)| difference(&format!("field `{}` of {at}", a.name), &a.ty, &b.ty))
            })
        }
        (Type::Variant(a), Type::Variant(b)) => {
            names_difference(at, "case", a.cases().map(|c| c.name), b.cases().map(|c| c.name)).or_else(|| {
                let mut pairs = a.cases().zip(b.cases());
                pairs.find_map(|(a, b)| {
                    optional_difference(&format!("the payload of case `{}` of {at}", a.name), a.ty, b.ty)
                })
            })
        }
        (Type::Enum(a), Type::Enum(b)) => names_difference(at, "name", a.names(), b.names()),
        (Type::Flags(a), Type::Flags(b)) => names_difference(at, "flag", a.names(), b.names()),
        _ => None,
    };
    Some(deeper.unwrap_or_else(|| sides(at, &type_text(importer), &type_text(exporter))))
}

fn optional_difference(at: &str, importer: Option<Type>, exporter: Option<Type>) -> Option<String> {
    let text = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "no type".to_owned(), type_text);
    match (&importer, &exporter) {
        (Some(a), Some(b)) => difference(at, a, b),
        (None, None) => None,
        (a, b) => Some(sides(at, &text(a), &text(b))),
    }
}

fn names_difference<'a>(
    at: &str,
    what: &str,
    importer: impl Iterator<Item = &'a str>,
    exporter: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let (importer, exporter): (Vec<_>, Vec<_>) = (importer.collect(), exporter.collect());
    let extra = |of: &[&'a str], than: &[&'a str]| of.iter().find(|name| !than.contains(name)).copied();
    match (extra(&importer, &exporter), extra(&exporter, &importer)) {
        (Some(a), Some(b)) => {
            Some(format!("{at} has the {what} `{a}` in the importer only and the {what} `{b}` in the exporter only"))
        }
        (Some(name), None) => Some(format!("{at} has the {what} `{name}` in the importer only")),
        (None, Some(name)) => Some(format!("{at} has the {what} `{name}` in the exporter only")),
        (None, None) if importer != exporter => Some(format!(
            "{at} has its {what}s in another order: importer {}; exporter {}",
            importer.join(", "),
            exporter.join(", ")
        )),
        (None, None) => None,
    }
}

fn sides(at: &str, importer: &str, exporter: &str) -> String {
    format!("{at}: importer has {importer}, exporter has {exporter}")
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
