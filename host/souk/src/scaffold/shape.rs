//! The templates of each kind of component: its source and its test in every language, its contract and its tables.
//!
//! A kind has the same contract, the same tables and the same behaviour in every language, so that any caller fits any
//! callee, and a test any component.

use super::changes::ScaffoldError;
use super::new_component::{Kind, Language, NewComponent, Storage};

/// The source, the test and the contract of one kind of component.
pub(super) struct Shape {
    sources: [&'static str; 3],
    tests: [&'static str; 3],
    pub contract: Option<&'static str>,
    /// The tables for SQLite and for PostgreSQL.
    pub tables: Option<(&'static str, &'static str)>,
}

impl Shape {
    /// The component's source.
    pub(super) fn source(&self, language: Language) -> &'static str {
        let [rust, javascript, python] = self.sources;
        language.choose(rust, javascript, python)
    }

    /// The test of the component, in the language of the application's tests.
    pub(super) fn test(&self, language: Language) -> &'static str {
        let [rust, javascript, python] = self.tests;
        language.choose(rust, javascript, python)
    }
}

macro_rules! shape {
    ($source:literal, $test:literal) => { shape!(@ $source, $test, None, None) };
    ($source:literal, $test:literal, $contract:literal) => {
        shape!(@ $source, $test, Some(include_str!(concat!("templates/wit/", $contract, ".wit"))), None)
    };
    ($source:literal, $test:literal, _, $tables:literal) => { shape!(@ $source, $test, None, tables!($tables)) };
    ($source:literal, $test:literal, $contract:literal, $tables:literal) => {
        shape!(@ $source, $test, Some(include_str!(concat!("templates/wit/", $contract, ".wit"))), tables!($tables))
    };
    (@ $source:literal, $test:literal, $contract:expr, $tables:expr) => {
        Shape {
            sources: [
                include_str!(concat!("templates/rust/", $source, ".rs")),
                include_str!(concat!("templates/javascript/", $source, ".js")),
                include_str!(concat!("templates/python/", $source, ".py")),
            ],
            tests: [
                include_str!(concat!("templates/tests/", $test, ".rs")),
                include_str!(concat!("templates/tests/", $test, ".mjs")),
                include_str!(concat!("templates/tests/", $test, ".py")),
            ],
            contract: $contract,
            tables: $tables,
        }
    };
}

macro_rules! tables {
    ($name:literal) => {
        Some((
            include_str!(concat!("templates/sql/", $name, "_sqlite.sql")),
            include_str!(concat!("templates/sql/", $name, "_postgres.sql")),
        ))
    };
}

/// A component that answers requests, keeps no data and calls no other component.
pub(super) const HTTP: Shape = shape!("http", "http");
/// Components that call another one, by the contract that the other one exports.
pub(super) const LINKED: [(&str, Shape); 3] = [
    ("greetings", shape!("http_linked_greetings", "http_linked_greetings")),
    ("values", shape!("http_linked_values", "http_linked_values")),
    ("inbox", shape!("http_linked_inbox", "http_linked_inbox")),
];

/// The contracts of [`LINKED`], by the same names.
pub(super) const CONTRACTS: [(&str, &str); 3] = [
    ("greetings", include_str!("templates/wit/greetings.wit")),
    ("values", include_str!("templates/wit/values.wit")),
    ("inbox", include_str!("templates/wit/inbox.wit")),
];

impl NewComponent {
    /// The templates of this component.
    ///
    /// # Errors
    /// When there are none for what it is to be.
    pub(super) fn shape(&self) -> Result<Shape, ScaffoldError> {
        let Storage { sqlite, postgres, key_value } = self.storage;
        if key_value && (sqlite || postgres) {
            let fix = "choose one of them now, and grant the other by hand: `key_value_stores` or `sqlite_databases`";
            return Err(ScaffoldError::new("a new component keeps its data in one place", fix));
        }
        Ok(match (&self.kind, key_value, sqlite || postgres) {
            (Kind::Http { .. }, false, false) => HTTP,
            (Kind::Http { .. }, true, _) => shape!("http_key_value", "http_key_value"),
            (Kind::Http { .. }, _, true) => shape!("http_database", "http_database", _, "lines"),
            (Kind::Exports { durable: false, .. }, false, false) => shape!("greetings", "greetings", "greetings"),
            (Kind::Exports { durable: false, .. }, true, _) => shape!("values_key_value", "values", "values"),
            (Kind::Exports { durable: false, .. }, _, true) => shape!("values_database", "values", "values", "entries"),
            (Kind::Exports { durable: true, .. }, true, _) => shape!("inbox_key_value", "inbox", "inbox"),
            (Kind::Exports { durable: true, .. }, _, true) => shape!("inbox_database", "inbox", "inbox", "messages"),
            (Kind::Exports { durable: true, .. }, false, false) => {
                return Err(ScaffoldError::new(
                    "a component that receives durable calls needs a place for their data",
                    "add --key-value, --sqlite or --postgres",
                ));
            }
        })
    }
}
