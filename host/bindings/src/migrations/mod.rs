//! Migrations of databases: the files of a component, run in order before its first request.
//!
//! A component keeps them in `DIR/sqlite/NNNN_name.sql` and `DIR/postgres/NNNN_name.sql`, where `DIR` is `migrations`
//! under `[component.NAME.tool.souk]`; its `database_url` there says which of the two run. refinery runs the SQLite
//! migrations, sqlx the PostgreSQL ones. Both keep a history in the database itself: a table for each component, with
//! the checksum of each file. Components that share a database each have their own history.
//!
//! Each migration runs in one transaction together with its history row, so a migration that fails leaves nothing
//! behind. A `COMMIT` or `ROLLBACK` in a migration would break that promise and is denied.
//!
//! Migrations that ran must not change: a file that was changed or removed, or added before one that ran, is an error
//! that names it. Gaps between the numbers are allowed. A migration that was removed on purpose is listed as `retired`:
//! it never runs again, and a database in which it ran is accepted. A migration that older releases can work with is
//! declared `additive`, and the history records this: an older release then starts with a warning, although it does not
//! have the file.

mod error;
mod files;
mod guard;
pub mod postgres;
pub mod seed;
pub mod sqlite;
mod standing;
#[cfg(test)]
mod tests;

use crate::sqlite::HISTORY_PREFIX;
use files::Kind;
use souk_manifest::{Application, Component, DatabaseUrl, Diagnostic, PostgresAddress};
use std::path::Path;

pub use error::MigrationError;
pub use standing::{MigrationState, Status};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files that ran now.
    pub applied: Vec<String>,
    /// How many migrations had run before.
    pub before: usize,
    /// Whether no migration had ever run in this database.
    pub was_new: bool,
}

/// The database that a component's migrations are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A SQLite database, by its label.
    Sqlite(&'a str),
    /// A PostgreSQL database.
    Postgres(&'a PostgresAddress),
}

/// The database that `component`'s migrations in `dir` are for: the one in its `database_url`. Without a `database_url`
/// it is the component's only SQLite database, or the one with the component's name, or `default`.
///
/// # Errors
/// When there is neither a `database_url` nor such a SQLite database. Also when there are no migrations for the
/// database that `database_url` names, because the component would find it empty.
pub fn target<'a>(component: &'a Component, dir: &Path) -> Result<Target<'a>, MigrationError> {
    let wanted = |kind: Kind, database: &str| {
        let path = dir.join(kind.folder());
        if path.is_dir() {
            return Ok(());
        }
        Err(MigrationError::File {
            component: component.name.clone(),
            path,
            reason: format!("the folder does not exist, and the component's `database_url` is for {database}"),
            fix: "put the migrations for this kind of database there, or name another database",
        })
    };
    match &component.database {
        Some(DatabaseUrl::Postgres(address)) => {
            wanted(Kind::Postgres, "PostgreSQL").map(|()| Target::Postgres(address))
        }
        Some(DatabaseUrl::Sqlite(label)) => wanted(Kind::Sqlite, "SQLite").map(|()| Target::Sqlite(label)),
        None => target_label(&component.name, &component.sqlite_databases).map(Target::Sqlite),
    }
}

/// The mistakes in the migrations of the components of this host that their files show, without a database.
pub fn check(application: &Application) -> Vec<Diagnostic> {
    let wrong = application.here().filter_map(|component| {
        let error = check_files(component, component.migrations.as_deref()?).err()?;
        Some(error.mistake(application))
    });
    wrong.collect()
}

fn check_files(component: &Component, dir: &Path) -> Result<(), MigrationError> {
    let kind = match target(component, dir)? {
        Target::Sqlite(_) => Kind::Sqlite,
        Target::Postgres(_) => Kind::Postgres,
    };
    files::read(&component.name, dir, &component.retired, kind)?;
    files::check_additive(&component.name, dir, &component.additive)
}

/// The label of the SQLite database that `component`'s migrations are for, or would be for without PostgreSQL.
///
/// # Errors
/// When it has several databases and none of them is the obvious choice.
pub fn sqlite_label(component: &Component) -> Result<&str, MigrationError> {
    match &component.database {
        Some(DatabaseUrl::Sqlite(label)) => Ok(label),
        _ => target_label(&component.name, &component.sqlite_databases),
    }
}

fn target_label<'a>(component: &str, labels: &'a [String]) -> Result<&'a str, MigrationError> {
    let named = |name: &str| labels.iter().find(|label| *label == name);
    match labels {
        [only] => Ok(only),
        several => {
            named(component).or_else(|| named("default")).map(String::as_str).ok_or_else(|| MigrationError::Target {
                component: component.to_owned(),
                reason: match several {
                    [] => "no database".to_owned(),
                    _ => format!("several databases ({})", several.join(", ")),
                },
            })
        }
    }
}

/// The table with the history of `component`.
fn history_table(component: &str) -> String {
    format!("{HISTORY_PREFIX}{component}")
}

/// `name` as an identifier of SQL; a component's name may have hyphens.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
