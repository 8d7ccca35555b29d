//! Migrations of SQLite databases: the files of a component, run in order before its first request.
//!
//! A component keeps them in `DIR/sqlite/NNNN_name.sql`, where `DIR` is `migrations` under
//! `[component.NAME.tool.souk]`. refinery runs them and keeps the history: a table a component, with the checksum of
//! each file, in the database itself. Components that share a database have a history each.
//!
//! Each migration runs in one transaction together with its line of history, so one that fails leaves nothing behind.
//! (refinery by itself would write the line in a transaction of its own; here it is asked for one version at a time,
//! grouped.) A migration that says `COMMIT` or `ROLLBACK` itself would break that promise and is denied.
//!
//! What ran must stay: a file that was changed, removed or slipped in before one that ran is an error that names it.
//! Gaps between the numbers are allowed.

mod files;
mod guard;
#[cfg(test)]
mod tests;

use crate::bindings::sqlite::{self, Database, Gauge};
use refinery::{Runner, Target};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::Migration;

/// Why migrations did not run. Each names the component and the file.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The folder or a file cannot be read, or a file has a name that is not understood.
    #[error("component `{component}`: migration {}: {reason}\n  fix: {fix}", path.display())]
    File {
        /// The component.
        component: String,
        /// The folder or the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What would fix it.
        fix: &'static str,
    },
    /// What ran and what is in the folder do not agree.
    #[error("component `{component}`: migration {file} of database `{database}` {reason}\n  fix: {fix}")]
    History {
        /// The component.
        component: String,
        /// The label of the database.
        database: String,
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: &'static str,
        /// What would fix it.
        fix: &'static str,
    },
    /// A migration failed; nothing of it remains.
    #[error(
        "component `{component}`: migration {file} of database `{database}` failed and was rolled back: {reason}\n  \
         fix: correct the file; nothing of it remains, so it will run again from its beginning"
    )]
    Failed {
        /// The component.
        component: String,
        /// The label of the database.
        database: String,
        /// The file's name.
        file: String,
        /// SQLite's reason, with the line where it is known.
        reason: String,
    },
    /// The database itself does not answer.
    #[error(
        "component `{component}`: the migrations of database `{database}` cannot be read: {reason}\n  \
             fix: see whether the file is a SQLite database that only this application changes"
    )]
    Database {
        /// The component.
        component: String,
        /// The label of the database.
        database: String,
        /// SQLite's reason.
        reason: String,
    },
    /// It is not clear which database the migrations are for.
    #[error(
        "component `{component}` has migrations for SQLite, but {reason}\n  fix: in [component.{component}] grant it one \
         database under `sqlite_databases`, or one that is named `{component}` or `default`"
    )]
    Target {
        /// The component.
        component: String,
        /// What is wrong.
        reason: String,
    },
}

/// What [`run`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files that ran now.
    pub applied: Vec<String>,
    /// How many had run before.
    pub before: usize,
}

/// Where one migration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It ran; when, as RFC 3339.
    Applied(String),
    /// It will run next.
    Pending,
    /// It ran, and its file was changed since.
    Changed,
    /// It ran, and its file is gone.
    Missing,
    /// It did not run, but a later one did.
    Late,
}

/// One line of [`status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number in the file's name.
    pub version: i32,
    /// The file's name.
    pub file: String,
    /// Where it stands.
    pub standing: Standing,
}

/// The database that `component`'s migrations are for: its only one, or the one that has its name, or `default`.
///
/// # Errors
/// When it has none, or several and none of these names.
pub fn target_label<'a>(component: &str, labels: impl IntoIterator<Item = &'a str>) -> Result<&'a str, MigrationError> {
    let labels: Vec<&str> = labels.into_iter().collect();
    let named = |name: &str| labels.iter().copied().find(|label| *label == name);
    match labels.as_slice() {
        [only] => Ok(only),
        several => named(component).or_else(|| named("default")).ok_or_else(|| MigrationError::Target {
            component: component.to_owned(),
            reason: match several {
                [] => "no database".to_owned(),
                _ => format!("several databases ({})", several.join(", ")),
            },
        }),
    }
}

/// Runs what has not run yet from `dir`, the component's folder of migrations. Blocks on the disk.
///
/// # Errors
/// See [`MigrationError`]. Migrations before the failing one stay.
pub fn run(database: &Database, component: &str, dir: &Path) -> Result<Report, MigrationError> {
    let context = Context { database, component };
    let migrations = files::read(component, dir)?;
    if migrations.is_empty() {
        return Ok(Report { applied: Vec::new(), before: 0 });
    }
    let mut connection = context.connect()?;
    let status = context.compare(&connection, &migrations)?;
    if let Some(wrong) = status.iter().find_map(|s| Some((s, s.standing.complaint()?))) {
        return Err(MigrationError::History {
            component: component.to_owned(),
            database: database.label().to_owned(),
            file: wrong.0.file.clone(),
            reason: wrong.1.0,
            fix: wrong.1.1,
        });
    }
    // Taken at the start of each migration, so that two hosts that start at once wait for each other.
    connection.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
    let gauge = guard::install(&mut connection, &history_table(component)).map_err(|e| context.unreadable(&e))?;
    let mut applied = Vec::new();
    let all: Vec<_> = migrations.iter().map(|m| m.parsed.clone()).collect();
    for migration in &migrations {
        let pending = |s: &&Status| s.version == migration.version && s.standing == Standing::Pending;
        if !status.iter().any(|s| pending(&s)) {
            continue;
        }
        let mut runner = Runner::new(&all).set_grouped(true).set_target(Target::Version(migration.version));
        runner.set_migration_table_name(quoted(&history_table(component)));
        runner.run(&mut connection).map_err(|e| context.failed(migration, &e, &gauge))?;
        tracing::debug!(component, database = database.label(), file = %migration.file, "migration applied");
        applied.push(migration.file.clone());
    }
    if !applied.is_empty() {
        guard::remove(&mut connection)
            .and_then(|()| database.look_for_virtual_tables(&connection))
            .map_err(|e| context.unreadable(&e))?;
    }
    Ok(Report { before: migrations.len() - applied.len(), applied })
}

/// Where each migration of `dir` stands, and each that ran. Blocks on the disk; changes nothing.
///
/// # Errors
/// When the files or the database cannot be read.
pub fn status(database: &Database, component: &str, dir: &Path) -> Result<Vec<Status>, MigrationError> {
    let context = Context { database, component };
    let migrations = files::read(component, dir)?;
    context.compare(&context.connect()?, &migrations)
}

impl Standing {
    /// What is wrong with it, if anything, and what would fix it.
    fn complaint(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Standing::Applied(_) | Standing::Pending => None,
            Standing::Changed => Some((
                "was changed after it ran",
                "put the file back as it was, and make the change in a new migration",
            )),
            Standing::Missing => Some(("has run, but its file is gone", "put the file back")),
            Standing::Late => Some((
                "has not run, but a later one has",
                "give it a number after the last, so that all hosts run them in one order",
            )),
        }
    }
}

/// A line of the history.
struct Ran {
    name: String,
    at: String,
    checksum: u64,
}

/// For errors.
#[derive(Clone, Copy)]
struct Context<'a> {
    database: &'a Database,
    component: &'a str,
}

impl Context<'_> {
    fn connect(&self) -> Result<Connection, MigrationError> {
        sqlite::open_for_migrations(self.database.path()).map_err(|e| self.unreadable(&e))
    }

    fn compare(&self, connection: &Connection, migrations: &[Migration]) -> Result<Vec<Status>, MigrationError> {
        let mut ran = history(connection, self.component).map_err(|e| self.unreadable(&e))?;
        let last = ran.keys().next_back().copied();
        let mut all: Vec<Status> = migrations
            .iter()
            .map(|migration| Status {
                version: migration.version,
                file: migration.file.clone(),
                standing: match ran.remove(&migration.version) {
                    Some(ran) if ran.checksum == migration.parsed.checksum() => Standing::Applied(ran.at),
                    Some(_) => Standing::Changed,
                    None if last.is_some_and(|last| migration.version < last) => Standing::Late,
                    None => Standing::Pending,
                },
            })
            .collect();
        all.extend(ran.into_iter().map(|(version, ran)| Status {
            version,
            file: files::file_name(version, &ran.name),
            standing: Standing::Missing,
        }));
        all.sort_by_key(|s| s.version);
        Ok(all)
    }

    fn unreadable(&self, error: &rusqlite::Error) -> MigrationError {
        MigrationError::Database {
            component: self.component.to_owned(),
            database: self.database.label().to_owned(),
            reason: error.to_string(),
        }
    }

    fn failed(&self, migration: &Migration, error: &refinery::Error, gauge: &Arc<Gauge>) -> MigrationError {
        use std::error::Error as _;
        let sqlite = error.source().and_then(|source| source.downcast_ref::<rusqlite::Error>());
        MigrationError::Failed {
            component: self.component.to_owned(),
            database: self.database.label().to_owned(),
            file: migration.file.clone(),
            reason: match sqlite {
                Some(e) => match migration.line_of(e) {
                    Some((line, message)) => format!("line {line}: {message}"),
                    None => sqlite::explain(e, gauge),
                },
                None => error.to_string(),
            },
        }
    }
}

/// The table with the history of `component`.
fn history_table(component: &str) -> String {
    format!("{}{component}", sqlite::HISTORY_PREFIX)
}

/// `name` as an identifier of SQL; a component's name may have hyphens.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The migrations that ran, by version. The table is refinery's, which panics on lines that it would not have written:
/// they are an error here.
fn history(connection: &Connection, component: &str) -> rusqlite::Result<BTreeMap<i32, Ran>> {
    let table = history_table(component);
    if !connection.table_exists(None::<&str>, table.as_str())? {
        return Ok(BTreeMap::new());
    }
    let mut statement = connection.prepare(&format!(
        "SELECT version, name, checksum, applied_on FROM {} \
         WHERE datetime(applied_on) IS NOT NULL AND applied_on GLOB '????-??-??T??:??:??*Z'",
        quoted(&table)
    ))?;
    let lines = statement.query_map([], |row| {
        let checksum: String = row.get(2)?;
        let checksum = checksum.parse().map_err(|e: std::num::ParseIntError| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e))
        })?;
        let ran = Ran { name: row.get(1)?, at: row.get(3)?, checksum };
        Ok((row.get(0)?, ran))
    })?;
    let all: BTreeMap<i32, Ran> = lines.collect::<rusqlite::Result<_>>()?;
    let total: i64 = connection.query_row(&format!("SELECT count(*) FROM {}", quoted(&table)), [], |row| row.get(0))?;
    if usize::try_from(total) != Ok(all.len()) {
        return Err(rusqlite::Error::InvalidColumnName(format!("a line of {table} was not written by the host")));
    }
    Ok(all)
}
