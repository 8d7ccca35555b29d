//! Migrations of a PostgreSQL database, on sqlx's migrator.
//!
//! Of the hosts that start together, one gets an advisory lock of the database; the others wait for a limited time, and
//! then find nothing left to do. If nothing is pending, no host takes the lock. The host waits for a server that is
//! still starting, but not for one that refuses the user.
//!
//! sqlx runs a migration and its history row in one transaction. A `COMMIT` in the file would end that transaction
//! early, so the file runs inside PL/pgSQL's `EXECUTE`, where PostgreSQL itself denies `COMMIT`, `ROLLBACK` and
//! `SAVEPOINT`. This also denies statements that cannot run in a transaction: `CREATE INDEX CONCURRENTLY`, `VACUUM` and
//! the like.

use super::files::{self, Kind, Migration};
use super::standing::{self, HistoryRow, Status};
use super::{MigrationError, Report, history_table, quoted};
use crate::postgres::connect_options;
use souk_manifest::PostgresAddress;
use sqlx::postgres::{PgConnection, PgDatabaseError, PgErrorPosition};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use sqlx_core::migrate::{self, MigrateError, MigrationType, Migrator};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

souk_manifest::fixed_limits! {
    /// The fixed limits of migrations of PostgreSQL.
    pub(crate) const FIXED_LIMITS = "migrations: PostgreSQL";

    /// How long start-up waits for a server that does not answer yet.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long start-up waits for another host that runs migrations of the same database.
    pub const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
    /// The pause between two attempts to connect.
    const CONNECT_RETRY_INTERVAL: Duration = Duration::from_millis(200);
    /// The longest name of a component's history table: PostgreSQL truncates longer names.
    const MAX_IDENTIFIER_BYTES: usize = 63, bytes;
}

/// The advisory lock, which is the same in every database and for every component.
const LOCK: i64 = i64::from_be_bytes(*b"soukmigr");

/// Runs the pending migrations in `dir`, the component's folder, and records which are `additive`. The numbers in
/// `retired` never run.
///
/// # Errors
/// See [`MigrationError`]. Migrations before the failing one stay.
pub async fn run(
    address: &PostgresAddress,
    component: &str,
    dir: &Path,
    retired: &[i32],
    additive: &[i32],
) -> Result<Report, MigrationError> {
    run_within(Context { address, component, retired }, dir, additive, CONNECT_TIMEOUT, LOCK_TIMEOUT).await
}

async fn run_within(
    context: Context<'_>,
    dir: &Path,
    additive: &[i32],
    connect_wait: Duration,
    lock_wait: Duration,
) -> Result<Report, MigrationError> {
    let Context { address, component, retired } = context;
    let migrations = files::read(component, dir, retired, Kind::Postgres)?;
    files::check_additive(component, dir, additive)?;
    if migrations.is_empty() {
        return Ok(Report { applied: Vec::new(), before: 0, was_new: false });
    }
    let mut connection = context.connect(connect_wait).await?;
    let table = context.table(&mut connection).await?;
    let (mut applied, mut was_new) = (Vec::new(), false);
    if !context.pending(&mut connection, &table, &migrations).await?.0.is_empty() {
        context.lock(&mut connection, lock_wait).await?;
        // Read again: the host that held the lock has run some of them.
        let pending;
        (pending, was_new) = context.pending(&mut connection, &table, &migrations).await?;
        let mut migrator = Migrator::with_migrations(migrations.iter().map(for_sqlx).collect());
        migrator.dangerous_set_table_name(table.clone());
        migrator.set_locking(false);
        // Missing files were checked above. Retired migrations are missing too, and that is fine.
        migrator.set_ignore_missing(true);
        for migration in pending {
            // One migration at a time, because not every error names the migration.
            let ran = migrator.run_direct(Some(migration.version.into()), &mut connection, false).await;
            ran.map_err(|e| context.failed(migration, e))?;
            tracing::debug!(component, database = %address, file = %migration.file, "migration applied");
            applied.push(migration.file.clone());
        }
    }
    context.note_additive(&mut connection, &table, additive).await.map_err(|e| context.unreadable(&e))?;
    // This also releases the lock. The work is done, so an error while closing does not matter.
    let _ = connection.close().await;
    Ok(Report { before: migrations.len() - applied.len(), applied, was_new })
}

/// Runs the pending migrations in a transaction that is rolled back, and returns their files. Fails if it must wait
/// longer than `lock_wait` for a lock, because the tables that it locks itself stop the running application.
///
/// # Errors
/// As [`run`].
pub async fn rehearse(
    address: &PostgresAddress,
    component: &str,
    dir: &Path,
    retired: &[i32],
    lock_wait: Duration,
) -> Result<Vec<String>, MigrationError> {
    let context = Context { address, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Postgres)?;
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let table = context.table(&mut connection).await?;
    let (pending, _) = context.pending(&mut connection, &table, &migrations).await?;
    try_out(&mut connection, &pending, lock_wait).await.map_err(|failed| context.untried(failed))?;
    let tried = pending.iter().map(|migration| migration.file.clone()).collect();
    let _ = connection.close().await;
    Ok(tried)
}

/// What a start does before [`run`]: tries out the pending migrations in a transaction that is rolled back, unless none has
/// ever run in the database, where nothing can be lost. Returns whether any is pending; if none is, [`run`] has nothing
/// more to do. Hosts that start together try them out one after the other.
///
/// # Errors
/// As [`run`]; then none of them has run. Not when they must wait longer than `lock_wait` for a lock: they are not tried
/// out then.
pub async fn prepare(
    address: &PostgresAddress,
    component: &str,
    dir: &Path,
    retired: &[i32],
    additive: &[i32],
    lock_wait: Duration,
) -> Result<bool, MigrationError> {
    let context = Context { address, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Postgres)?;
    files::check_additive(component, dir, additive)?;
    if migrations.is_empty() {
        return Ok(false);
    }
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let table = context.table(&mut connection).await?;
    let (mut pending, was_new) = context.pending(&mut connection, &table, &migrations).await?;
    if !pending.is_empty() && !was_new {
        context.lock(&mut connection, LOCK_TIMEOUT).await?;
        // Read again: the host that held the lock may have run them.
        pending = context.pending(&mut connection, &table, &migrations).await?.0;
        match try_out(&mut connection, &pending, lock_wait).await {
            Ok(()) => {}
            Err((Some(migration), error)) if waited_for_lock(&error) => tracing::warn!(
                component, database = %address, file = %migration.file,
                "a migration is not tried out first, because the database is in use: {error}"
            ),
            Err(failed) => return Err(context.untried(failed)),
        }
    }
    if pending.is_empty() {
        context.note_additive(&mut connection, &table, additive).await.map_err(|e| context.unreadable(&e))?;
    }
    // This also releases the lock.
    let _ = connection.close().await;
    Ok(!pending.is_empty())
}

/// The state of each migration in `dir` and of each that ran. Changes nothing.
///
/// # Errors
/// When the files or the database cannot be read.
pub async fn status(
    address: &PostgresAddress,
    component: &str,
    dir: &Path,
    retired: &[i32],
) -> Result<Vec<Status>, MigrationError> {
    let context = Context { address, component, retired };
    let migrations = files::read(component, dir, retired, Kind::Postgres)?;
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let table = context.table(&mut connection).await?;
    let status = context.compare(&mut connection, &table, &migrations).await?;
    let _ = connection.close().await;
    Ok(status)
}

/// Whether no migration of `dir` has ever run in the database.
///
/// # Errors
/// When the files or the database cannot be read.
pub async fn is_new(
    address: &PostgresAddress,
    component: &str,
    dir: &Path,
    retired: &[i32],
) -> Result<bool, MigrationError> {
    Ok(standing::is_new(&status(address, component, dir, retired).await?))
}

/// The component and the database of the migrations; also for errors.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) address: &'a PostgresAddress,
    pub(super) component: &'a str,
    pub(super) retired: &'a [i32],
}

impl Context<'_> {
    /// Connects, and tries again for `wait` while the server cannot be reached or is still starting.
    pub(super) async fn connect(&self, wait: Duration) -> Result<PgConnection, MigrationError> {
        let options = match connect_options(self.address) {
            Ok(options) => options,
            Err(error) => return Err(self.error(error.message, error.fix)),
        };
        let connect = || async {
            let mut connection = options.connect().await?;
            // sqlx runs `CREATE TABLE IF NOT EXISTS` for the history; this keeps PostgreSQL's notice that it exists out
            // of the log. It is not an option of the connection, because connection poolers refuse such options.
            sqlx::raw_sql("SET client_min_messages = warning").execute(&mut connection).await?;
            Ok(connection)
        };
        let end = Instant::now() + wait;
        let mut told = false;
        loop {
            let (reason, fix) = match timeout_at(end, connect()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if !is_transient(&error) => return Err(self.unreadable(&error)),
                Ok(Err(error)) => explain(&error),
                Err(_) => ("it does not answer".to_owned(), UNREACHABLE),
            };
            let next = Instant::now() + CONNECT_RETRY_INTERVAL;
            if next >= end {
                return Err(self.error(format!("{reason}; tried for {} s", wait.as_secs()), fix));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(component = self.component, database = %self.address, "{reason}; trying again");
            }
            sleep_until(next).await;
        }
    }

    /// The history table, with the session's current schema, because a migration may change the schema.
    async fn table(&self, connection: &mut PgConnection) -> Result<String, MigrationError> {
        let table = history_table(self.component);
        if table.len() > MAX_IDENTIFIER_BYTES {
            let reason = format!("its table of history would be `{table}`, which is longer than a name can be");
            return Err(self.error(reason, "give the component a shorter name"));
        }
        let schema: Option<String> = sqlx::query_scalar("SELECT current_schema()::text")
            .fetch_one(connection)
            .await
            .map_err(|e| self.unreadable(&e))?;
        let schema = schema.ok_or_else(|| {
            let fix = "create the schema that `search_path` names, or let the user use the schema `public`";
            self.error("the user has no schema to create tables in".to_owned(), fix)
        })?;
        Ok(format!("{}.{}", quoted(&schema), quoted(&table)))
    }

    /// The pending migrations, and whether none has ever run.
    async fn pending<'m>(
        &self,
        connection: &mut PgConnection,
        table: &str,
        migrations: &'m [Migration],
    ) -> Result<(Vec<&'m Migration>, bool), MigrationError> {
        let status = self.compare(connection, table, migrations).await?;
        let pending = standing::pending(self.component, &self.address.to_string(), migrations, &status)?;
        standing::warn_of_newer(self.component, &self.address.to_string(), &status);
        Ok((pending, standing::is_new(&status)))
    }

    /// The error of migrations that could not be tried out.
    fn untried(&self, (migration, error): (Option<&Migration>, sqlx::Error)) -> MigrationError {
        match migration {
            Some(migration) => self.failed(migration, MigrateError::Execute(error)),
            None => self.unreadable(&error),
        }
    }

    async fn compare(
        &self,
        connection: &mut PgConnection,
        table: &str,
        migrations: &[Migration],
    ) -> Result<Vec<Status>, MigrationError> {
        let ran = history(connection, table).await.map_err(|e| self.unreadable(&e))?;
        let checksums = migrations.iter().map(|one| hex::encode(&for_sqlx(one).checksum));
        Ok(standing::compare(migrations, checksums, ran, self.retired))
    }

    /// Records in the history which of the migrations that ran are `additive`.
    async fn note_additive(&self, connection: &mut PgConnection, table: &str, additive: &[i32]) -> sqlx::Result<()> {
        if additive.is_empty() {
            return Ok(());
        }
        if !has_additive(connection, table).await? {
            let alter = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS additive boolean");
            sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut *connection).await?;
        }
        let update = format!("UPDATE {table} SET additive = true WHERE version = ANY($1) AND additive IS NOT TRUE");
        let numbers: Vec<i64> = additive.iter().map(|number| i64::from(*number)).collect();
        sqlx::query(AssertSqlSafe(update)).bind(numbers).execute(connection).await.map(|_| ())
    }

    /// Takes the lock; waits while another host has it.
    async fn lock(&self, connection: &mut PgConnection, wait: Duration) -> Result<(), MigrationError> {
        let setting = format!("SET lock_timeout = {}", wait.as_millis());
        let locked = async {
            sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *connection).await?;
            sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
            sqlx::raw_sql("RESET lock_timeout").execute(&mut *connection).await
        };
        match locked.await {
            Ok(_) => Ok(()),
            Err(error) if waited_for_lock(&error) => {
                let reason = format!("another host has run migrations there for {} s or more", wait.as_secs());
                let fix = "wait until it is done; if none is running, find the owner of the advisory lock in pg_locks";
                Err(self.error(reason, fix))
            }
            Err(e) => Err(self.unreadable(&e)),
        }
    }

    pub(super) fn unreadable(&self, error: &sqlx::Error) -> MigrationError {
        let (reason, fix) = explain(error);
        self.error(reason, fix)
    }

    fn error(&self, reason: String, fix: &'static str) -> MigrationError {
        MigrationError::Database {
            component: self.component.to_owned(),
            database: self.address.to_string(),
            reason,
            fix,
        }
    }

    fn failed(&self, migration: &Migration, error: MigrateError) -> MigrationError {
        let error = match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
            other => return self.error(other.to_string(), "let only this application change its history tables"),
        };
        let sqlx::Error::Database(database) = &error else {
            // We do not know whether the transaction was committed; the history will show it.
            let reason = format!("the connection broke in {}: {error}", migration.file);
            return self.error(reason, "start again: what was committed is recorded and does not run twice");
        };
        let place = database.try_downcast_ref::<PgDatabaseError>().and_then(|e| line_of(&migration.sql, e));
        let message = database.message();
        MigrationError::Failed {
            component: self.component.to_owned(),
            database: self.address.to_string(),
            file: migration.file.clone(),
            reason: place.map_or_else(|| message.to_owned(), |line| format!("line {line}: {message}")),
        }
    }
}

/// Runs `pending` in a transaction that is rolled back, which waits no longer than `lock_wait` for a lock. Returns the
/// migration that failed, if one did.
async fn try_out<'m>(
    connection: &mut PgConnection,
    pending: &[&'m Migration],
    lock_wait: Duration,
) -> Result<(), (Option<&'m Migration>, sqlx::Error)> {
    let begin = format!("BEGIN; SET LOCAL lock_timeout = {}", lock_wait.as_millis());
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await.map_err(|error| (None, error))?;
    for &migration in pending {
        let ran = sqlx::raw_sql(for_sqlx(migration).sql).execute(&mut *connection).await;
        ran.map_err(|error| (Some(migration), error))?;
    }
    // If this fails, the end of the connection rolls back too.
    let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
    Ok(())
}

/// Whether a statement has waited for a lock for as long as it may.
fn waited_for_lock(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

const UNREACHABLE: &str = "start the server, or correct host and port in the component's `database_url`";

/// Whether connecting may succeed a moment later.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

/// What is wrong with the server or the login, and the fix.
fn explain(error: &sqlx::Error) -> (String, &'static str) {
    match error {
        sqlx::Error::Io(error) => (error.to_string(), UNREACHABLE),
        sqlx::Error::Tls(error) => (
            format!("TLS: {error}"),
            "check whether the server has TLS, and `sslmode` in the component's `database_url`",
        ),
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let fix = match code.get(..2).unwrap_or_default() {
                "28" => "correct user and password in the component's `database_url`",
                "3D" => "create the database, or correct its name in the component's `database_url`",
                "42" => "let the user create tables in the schema and read the table of history",
                _ => "see what the server's log says",
            };
            (error.message().to_owned(), fix)
        }
        other => (other.to_string(), "check whether a PostgreSQL server listens there"),
    }
}

/// A migration as sqlx runs it; its checksum is that of the file.
fn for_sqlx(migration: &Migration) -> migrate::Migration {
    let Migration { version, name, sql, .. } = migration;
    let text = AssertSqlSafe(sql.clone());
    let mut for_sqlx = migrate::Migration::new(
        i64::from(*version),
        name.clone().into(),
        MigrationType::Simple,
        sqlx_core::sql_str::SqlSafeStr::into_sql_str(text),
        false,
    );
    for_sqlx.sql = sqlx_core::sql_str::SqlSafeStr::into_sql_str(AssertSqlSafe(inside_execute(sql)));
    for_sqlx
}

/// `sql` as one statement that cannot end the transaction that it runs in.
pub(super) fn inside_execute(sql: &str) -> String {
    let tag = (0..).map(|n| format!("souk_{n}")).find(|tag| !sql.contains(tag)).unwrap_or_default();
    format!("DO $do_{tag}$ BEGIN EXECUTE ${tag}${sql}${tag}$; END $do_{tag}$")
}

/// The line of the migration `sql` at which PostgreSQL found an error, if the error has a position.
pub(super) fn line_of(sql: &str, error: &PgDatabaseError) -> Option<usize> {
    let Some(PgErrorPosition::Internal { position, query }) = error.position() else { return None };
    (query == sql).then(|| 1 + sql.chars().take(position.saturating_sub(1)).filter(|c| *c == '\n').count())
}

/// The migrations that ran, by version.
async fn history(connection: &mut PgConnection, table: &str) -> sqlx::Result<BTreeMap<i32, HistoryRow>> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(&mut *connection).await?;
    if !there {
        return Ok(BTreeMap::new());
    }
    let additive = if has_additive(connection, table).await? { "additive IS TRUE" } else { "false" };
    let query = format!(
        "SELECT version::integer, description, checksum, \
         to_char(installed_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), {additive} FROM {table}"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let checksum: Vec<u8> = row.try_get(2)?;
            let (name, at, additive) = (row.try_get(1)?, row.try_get(3)?, row.try_get(4)?);
            Ok((row.try_get(0)?, HistoryRow { name, at, checksum: hex::encode(checksum), additive }))
        })
        .collect()
}

/// Whether the history has the column `additive`; a history from release 0.1.0 does not.
async fn has_additive(connection: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'additive' AND \
                 NOT attisdropped)";
    sqlx::query_scalar(query).bind(table).fetch_one(connection).await
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
