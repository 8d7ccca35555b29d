//! Migrations of a SQLite database, on refinery.
//!
//! By default refinery writes a migration's history row in a separate transaction. Here it runs one version at a time
//! in grouped mode, so that both share one transaction. [`super::guard`] denies a `COMMIT` or `ROLLBACK` in a
//! migration.

use super::files::{self, Kind, Migration};
use super::standing::{self, HistoryRow, Status};
use super::{MigrationError, Report, guard, history_table, quoted};
use crate::sqlite::{self, Database, Gauge};
use refinery::{Runner, Target};
use rusqlite::Connection;
use souk_manifest::temporary;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Runs the pending migrations in `dir`, the component's folder, and records which are `additive`. The numbers in
/// `retired` never run. Blocks on the disk.
///
/// # Errors
/// See [`MigrationError`]. Migrations before the failing one stay.
pub fn run(
    database: &Database,
    component: &str,
    dir: &Path,
    retired: &[i32],
    additive: &[i32],
) -> Result<Report, MigrationError> {
    let context = Context { database, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Sqlite)?;
    files::check_additive(component, dir, additive)?;
    if migrations.is_empty() {
        return Ok(Report { applied: Vec::new(), before: 0, was_new: false });
    }
    let (mut connection, applied, was_new) = context.apply(context.connect()?, &migrations)?;
    if !applied.is_empty() {
        guard::remove(&mut connection)
            .and_then(|()| database.look_for_virtual_tables(&connection))
            .map_err(|e| context.unreadable(&e))?;
    }
    if !additive.is_empty() {
        drop(connection);
        note_additive(&context.connect()?, component, additive).map_err(|e| context.unreadable(&e))?;
    }
    Ok(Report { before: migrations.len() - applied.len(), applied, was_new })
}

/// Runs the pending migrations in a copy of the database, which is removed afterwards, and returns their files. Blocks
/// on the disk.
///
/// # Errors
/// As [`run`].
pub fn rehearse(
    database: &Database,
    component: &str,
    dir: &Path,
    retired: &[i32],
) -> Result<Vec<String>, MigrationError> {
    let context = Context { database, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Sqlite)?;
    let connection = context.connect()?;
    let status = context.compare(&connection, &migrations, &context.parse(&migrations)?)?;
    if standing::pending(component, database.label(), &migrations, &status)?.is_empty() {
        return Ok(Vec::new());
    }
    context.rehearse(connection, &migrations)
}

/// What a start does before [`run`]: tries out the pending migrations as [`rehearse`] does, unless none has ever run in the
/// database, where nothing can be lost. Returns whether any is pending; if none is, [`run`] has nothing more to do.
/// Blocks on the disk.
///
/// # Errors
/// As [`run`]; then none of them has run.
pub fn prepare(
    database: &Database,
    component: &str,
    dir: &Path,
    retired: &[i32],
    additive: &[i32],
) -> Result<bool, MigrationError> {
    let context = Context { database, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Sqlite)?;
    files::check_additive(component, dir, additive)?;
    if migrations.is_empty() {
        return Ok(false);
    }
    // Of a host that was killed while it tried migrations out.
    let (folder, prefix) = copies(database);
    temporary::remove_left_behind(folder, &prefix);
    let connection = context.connect()?;
    let status = context.compare(&connection, &migrations, &context.parse(&migrations)?)?;
    if standing::pending(component, database.label(), &migrations, &status)?.is_empty() {
        standing::warn_of_newer(component, database.label(), &status);
        if !additive.is_empty() {
            note_additive(&connection, component, additive).map_err(|e| context.unreadable(&e))?;
        }
        return Ok(false);
    }
    if !standing::is_new(&status) {
        context.rehearse(connection, &migrations)?;
    }
    Ok(true)
}

impl Context<'_> {
    /// Runs the pending migrations in a copy of the database of `connection`; returns their files.
    fn rehearse(self, connection: Connection, migrations: &[Migration]) -> Result<Vec<String>, MigrationError> {
        let Context { database, component, .. } = self;
        let no_copy = |reason: String| MigrationError::Database {
            component: component.to_owned(),
            database: database.label().to_owned(),
            reason: format!("a copy in which to try them cannot be made: {reason}"),
            fix: "make room in the state folder",
        };
        let (folder, prefix) = copies(database);
        let copy = temporary::folder(folder, &prefix).map_err(|e| no_copy(e.to_string()))?;
        let path = copy.path().join("copy.db");
        connection
            .backup(rusqlite::MAIN_DB, &path, None::<fn(rusqlite::backup::Progress)>)
            .map_err(|e| no_copy(e.to_string()))?;
        drop(connection);
        let connection = sqlite::open_for_migrations(&path, database.max_bytes()).map_err(|e| self.unreadable(&e))?;
        Ok(self.apply(connection, migrations)?.1)
    }

    /// Runs the pending migrations on `connection`; returns the files that ran, and whether none had ever run.
    fn apply(
        self,
        mut connection: Connection,
        migrations: &[Migration],
    ) -> Result<(Connection, Vec<String>, bool), MigrationError> {
        let Context { database, component, .. } = self;
        let all = self.parse(migrations)?;
        let status = self.compare(&connection, migrations, &all)?;
        let pending = standing::pending(component, database.label(), migrations, &status)?;
        standing::warn_of_newer(component, database.label(), &status);
        // Each migration takes the write lock at its start, so that hosts that start together wait for each other.
        connection.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
        let gauge = guard::install(&mut connection, &history_table(component)).map_err(|e| self.unreadable(&e))?;
        let mut applied = Vec::new();
        for migration in pending {
            let mut runner = Runner::new(&all).set_grouped(true).set_target(Target::Version(migration.version));
            // Missing files were checked above. Retired migrations are missing too, and that is fine.
            runner = runner.set_abort_missing(false);
            runner.set_migration_table_name(quoted(&history_table(component)));
            runner.run(&mut connection).map_err(|e| self.failed(migration, &e, &gauge))?;
            tracing::debug!(component, database = database.label(), file = %migration.file, "migration applied");
            applied.push(migration.file.clone());
        }
        Ok((connection, applied, standing::is_new(&status)))
    }
}

/// The folder of the copies of a database, and how their names begin.
fn copies(database: &Database) -> (&Path, String) {
    let (path, folder) = (database.path(), database.path().parent());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (folder.unwrap_or(Path::new(".")), format!(".rehearsal-{name}-"))
}

/// The state of each migration in `dir` and of each that ran. Blocks on the disk; changes nothing.
///
/// # Errors
/// When the files or the database cannot be read.
pub fn status(
    database: &Database,
    component: &str,
    dir: &Path,
    retired: &[i32],
) -> Result<Vec<Status>, MigrationError> {
    let context = Context { database, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Sqlite)?;
    context.compare(&context.connect()?, &migrations, &context.parse(&migrations)?)
}

/// The component and the database of the migrations; also for errors.
#[derive(Clone, Copy)]
struct Context<'a> {
    database: &'a Database,
    component: &'a str,
    retired: &'a [i32],
}

impl Context<'_> {
    fn connect(&self) -> Result<Connection, MigrationError> {
        sqlite::open_for_migrations(self.database.path(), self.database.max_bytes()).map_err(|e| self.unreadable(&e))
    }

    /// refinery's view of the migrations, with its checksums.
    fn parse(&self, migrations: &[Migration]) -> Result<Vec<refinery::Migration>, MigrationError> {
        let parse = |Migration { version, name, file, sql }: &Migration| {
            refinery::Migration::unapplied(&format!("V{version}__{name}"), sql).map_err(|e| MigrationError::File {
                component: self.component.to_owned(),
                path: file.into(),
                reason: e.to_string(),
                fix: "rename the file",
            })
        };
        migrations.iter().map(parse).collect()
    }

    fn compare(
        &self,
        connection: &Connection,
        migrations: &[Migration],
        parsed: &[refinery::Migration],
    ) -> Result<Vec<Status>, MigrationError> {
        let ran = history(connection, self.component).map_err(|e| self.unreadable(&e))?;
        Ok(standing::compare(migrations, parsed.iter().map(|one| one.checksum().to_string()), ran, self.retired))
    }

    fn unreadable(&self, error: &rusqlite::Error) -> MigrationError {
        MigrationError::Database {
            component: self.component.to_owned(),
            database: self.database.label().to_owned(),
            reason: error.to_string(),
            fix: "check whether the file is a SQLite database that only this application changes",
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
                Some(e) => match line_of(&migration.sql, e) {
                    Some((line, message)) => format!("line {line}: {message}"),
                    None => sqlite::explain(e, gauge),
                },
                None => error.to_string(),
            },
        }
    }
}

/// The line of the text `whole` at which SQLite found an error, and the message; `None` when the error has no position.
fn line_of(whole: &str, error: &rusqlite::Error) -> Option<(usize, String)> {
    let rusqlite::Error::SqlInputError { msg, sql, offset, .. } = error else {
        return None;
    };
    // The error contains the text from the failing statement on.
    let at = whole.len().checked_sub(sql.len())? + usize::try_from(*offset).ok()?;
    if !whole.ends_with(sql.as_str()) {
        return None;
    }
    let before = whole.as_bytes().get(..at)?;
    Some((before.iter().filter(|b| **b == b'\n').count() + 1, msg.clone()))
}

/// The migrations that ran, by version. refinery owns the table, and panics on rows that it would not have written;
/// here they are an error.
fn history(connection: &Connection, component: &str) -> rusqlite::Result<BTreeMap<i32, HistoryRow>> {
    let table = history_table(component);
    if !connection.table_exists(None::<&str>, table.as_str())? {
        return Ok(BTreeMap::new());
    }
    let mut statement = connection.prepare(&format!(
        "SELECT version, name, checksum, applied_on, {} FROM {} \
         WHERE datetime(applied_on) IS NOT NULL AND applied_on GLOB '????-??-??T??:??:??*Z'",
        if has_additive(connection, &table)? { "additive IS TRUE" } else { "FALSE" },
        quoted(&table)
    ))?;
    let lines = statement.query_map([], |row| {
        let checksum: String = row.get(2)?;
        let checksum: u64 = checksum.parse().map_err(|e: std::num::ParseIntError| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e))
        })?;
        let ran =
            HistoryRow { name: row.get(1)?, at: row.get(3)?, checksum: checksum.to_string(), additive: row.get(4)? };
        Ok((row.get(0)?, ran))
    })?;
    let all: BTreeMap<i32, HistoryRow> = lines.collect::<rusqlite::Result<_>>()?;
    let total: i64 = connection.query_row(&format!("SELECT count(*) FROM {}", quoted(&table)), [], |row| row.get(0))?;
    if usize::try_from(total) != Ok(all.len()) {
        return Err(rusqlite::Error::InvalidColumnName(format!("a line of {table} was not written by the host")));
    }
    Ok(all)
}

/// Whether the history has the column `additive`; a history from release 0.1.0 does not.
fn has_additive(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let query = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = 'additive'";
    connection.query_row(query, [table], |row| row.get(0))
}

/// Records in the history which of the migrations that ran are `additive`.
fn note_additive(connection: &Connection, component: &str, additive: &[i32]) -> rusqlite::Result<()> {
    let table = history_table(component);
    // In one transaction, so that only one of two hosts that start together adds the column.
    connection.execute_batch("BEGIN IMMEDIATE")?;
    if !has_additive(connection, &table)? {
        connection.execute_batch(&format!("ALTER TABLE {} ADD COLUMN additive INTEGER", quoted(&table)))?;
    }
    for number in additive {
        let update = format!("UPDATE {} SET additive = 1 WHERE version = ?1", quoted(&table));
        connection.execute(&update, [number])?;
    }
    connection.execute_batch("COMMIT")
}
