//! Bounds that no manifest can change. They are declared where they are used, and `souk doctor` prints them with all
//! others.
//!
//! [`fixed_limits!`](crate::fixed_limits) declares the constants of one module together with their table, so no
//! constant can be missing from the table. Operators read the comment on a constant: it says what is bounded and what
//! happens beyond the bound. A test of the crate `souk` finds bounds that are in no table, and tables that `souk
//! doctor` does not print.

use super::value::LimitValue;

/// A bound of one module that no manifest can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedLimit {
    /// The part of the host that enforces the bound, as an operator knows it: `http client`.
    pub module: &'static str,
    /// The name of the constant in the source.
    pub constant: &'static str,
    /// The bound.
    pub value: LimitValue,
    /// What is bounded, and what happens beyond it: the constant's comment.
    pub comment: &'static str,
}

impl FixedLimit {
    /// The name of the bound: the constant's name in words, without its unit.
    pub fn name(&self) -> String {
        let units = ["_BYTES", "_KIB", "_MS"];
        let name = units.iter().find_map(|unit| self.constant.strip_suffix(unit)).unwrap_or(self.constant);
        name.replace('_', " ").to_lowercase()
    }
}

/// Every fixed limit of manifests, which `souk doctor` prints.
pub fn fixed_limits() -> Vec<FixedLimit> {
    [
        crate::allowed::FIXED_LIMITS,
        crate::nats::FIXED_LIMITS,
        crate::postgres::FIXED_LIMITS,
        crate::schedule::FIXED_LIMITS,
    ]
    .concat()
}

/// Declares the bounds of a module as constants, and a table of them.
///
/// A constant that is not a `Duration` names its unit: `bytes`, `KiB`, `milliseconds`, or what it counts, in the
/// plural.
///
/// ```text
/// souk_manifest::fixed_limits! {
///     /// The fixed limits of the HTTP client.
///     pub(super) const FIXED_LIMITS = "http client";
///
///     /// How long connecting may take.
///     const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
///     /// The most names that one component resolves at a time; others wait.
///     const MAX_LOOKUPS: usize = 16, "names";
/// }
/// ```
#[macro_export]
macro_rules! fixed_limits {
    (@value $name:ident) => { $crate::limits::LimitValue::Duration($name) };
    (@value $name:ident, bytes) => { $crate::limits::LimitValue::Bytes($crate::limits::ByteSize::b($name as u64)) };
    (@value $name:ident, KiB) => { $crate::limits::LimitValue::Bytes($crate::limits::ByteSize::kib($name as u64)) };
    (@value $name:ident, milliseconds) => {
        $crate::limits::LimitValue::Duration(::std::time::Duration::from_millis($name as u64))
    };
    (@value $name:ident, $unit:literal) => { $crate::limits::LimitValue::Count($name as u64, $unit) };
    (
        $(#[doc = $about:literal])+
        $table_visibility:vis const $table:ident = $module:literal;
        $(
            $(#[doc = $comment:literal])+
            $visibility:vis const $name:ident: $type:ty = $value:expr $(, $unit:tt)?;
        )+
    ) => {
        $(
            $(#[doc = $comment])+
            $visibility const $name: $type = $value;
        )+

        $(#[doc = $about])+
        $table_visibility const $table: &[$crate::limits::FixedLimit] = &[$($crate::limits::FixedLimit {
            module: $module,
            constant: stringify!($name),
            value: $crate::fixed_limits!(@value $name $(, $unit)?),
            comment: concat!($($comment),+),
        },)+];
    };
}
