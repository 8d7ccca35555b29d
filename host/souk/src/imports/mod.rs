//! Imports rows of another system through the components that know them.
//!
//! The host reads and counts rows; it knows no tables. A component that exports `souk:imports/rows` says which rows it
//! imports and where they can be read, and judges each row. That component also owns the data: the rules for a row are
//! beside the statements that store it, and no other component has access to its database.

mod duplicates;
mod objects;
mod read;
mod run;

pub(crate) use read::Place;
pub(crate) use run::{Caller, Outcome, Run};

use serde::Deserialize;
use souk_manifest::limits::FixedLimit;

/// The name of the interface, without its version.
pub(crate) const INTERFACE: &str = "souk:imports/rows@";

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [read::FIXED_LIMITS, run::FIXED_LIMITS].concat()
}

/// A system that keeps rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    Mongodb,
    Sqlite,
    Postgres,
}

impl System {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Mongodb => "MongoDB",
            System::Sqlite => "SQLite",
            System::Postgres => "PostgreSQL",
        }
    }
}

/// How the rows of a system are read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Source {
    pub(crate) system: System,
    pub(crate) read: String,
}

/// A kind of rows.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) in_order: bool,
    pub(crate) distinct: Option<String>,
}

/// The component's decision about a row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Taken,
    Changed(String),
    There,
    Refused(String),
}
