//! Rows of another system, taken over by the components that know them.
//!
//! The host reads rows and counts; it knows no table. A component that exports `souk:imports/rows` says which rows it takes
//! and where they can be read, and judges each one. It is the component that owns the data: what a row must be like stands
//! beside the statements that store it, and nobody else is granted its database.

mod doubles;
mod read;
mod run;

pub(crate) use read::Place;
pub(crate) use run::{Caller, Outcome, Run};

use serde::Deserialize;
use souk_manifest::limits::FixedLimit;

/// The interface, without its version.
pub(crate) const INTERFACE: &str = "souk:imports/rows@";

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [read::FIXED_LIMITS, run::FIXED_LIMITS].concat()
}

/// What keeps rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    Mongodb,
    Sqlite,
    Postgres,
}

/// How rows are read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Source {
    pub(crate) system: System,
    pub(crate) read: String,
}

/// Rows of one kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) in_order: bool,
    pub(crate) distinct: Option<String>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Taken,
    Changed(String),
    There,
    Refused(String),
}
