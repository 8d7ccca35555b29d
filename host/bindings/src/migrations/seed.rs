//! Example data of a component: scripts beside its migrations that insert rows into its tables and remove them.
//!
//! `FOLDER/sqlite/` and `FOLDER/postgres/` hold up to three files. `add.sql` and `remove.sql` each run in one
//! transaction and may run again at any time, so `add.sql` must not change rows that exist. `keep.sql` is a query; each
//! of its rows is a reason, as text, why the example data must stay. Rows of other components may refer to example
//! data, and only those components know. So a host can remove example data without knowing what it means.
//!
//! A seed is not a migration: a migration runs everywhere and stays, but an operator with real data wants no examples.

use super::files::Kind;
use super::postgres::{CONNECT_TIMEOUT, Context, inside_execute, line_of};
use super::{MigrationError, Target, guard};
use crate::sqlite::{self, Database, open_for_migrations};
use souk_manifest::PostgresAddress;
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, Connection as _};
use std::path::{Path, PathBuf};

/// The scripts of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Inserts the data.
    Add,
    /// Removes the data that nobody has changed.
    Remove,
    /// Returns the reasons to keep the data.
    Keep,
}

impl Script {
    fn file(self) -> &'static str {
        match self {
            Script::Add => "add.sql",
            Script::Remove => "remove.sql",
            Script::Keep => "keep.sql",
        }
    }
}

/// The file and text of a script; `None` when the seed does not have this script for this kind of database.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(
    component: &str,
    folder: &Path,
    target: &Target<'_>,
    script: Script,
) -> Result<Option<(PathBuf, String)>, MigrationError> {
    let kind = match target {
        Target::Sqlite(_) => Kind::Sqlite,
        Target::Postgres(_) => Kind::Postgres,
    };
    let path = folder.join(kind.folder()).join(script.file());
    match std::fs::read_to_string(&path) {
        Ok(sql) => Ok(Some((path, sql))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(MigrationError::File {
            component: component.to_owned(),
            path,
            reason: format!("the file cannot be read: {e}"),
            fix: "make it a text file that the host's user can read",
        }),
    }
}

/// Runs `sql`, the text of `path`, in one transaction on a SQLite database. Blocks on the disk.
///
/// # Errors
/// When it fails; nothing of it remains.
pub fn run_on_sqlite(database: &Database, component: &str, path: &Path, sql: &str) -> Result<(), MigrationError> {
    let failed = |reason| failed(component, database.label(), path, reason);
    let plain = |error: rusqlite::Error| failed(error.to_string());
    let mut connection = open_for_migrations(database.path()).map_err(plain)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(plain)?;
    let gauge = guard::install_for_script(&mut connection).map_err(plain)?;
    // Dropping a connection rolls back its open transaction.
    connection.execute_batch(sql).map_err(|error| failed(sqlite::explain(&error, &gauge)))?;
    guard::remove(&mut connection).map_err(plain)?;
    connection.execute_batch("COMMIT").map_err(plain)?;
    database.look_for_virtual_tables(&connection).map_err(plain)
}

/// The rows of the query `sql`, the text of `path`, on a SQLite database. Blocks on the disk; changes nothing.
///
/// # Errors
/// When it fails.
pub fn reasons_on_sqlite(
    database: &Database,
    component: &str,
    path: &Path,
    sql: &str,
) -> Result<Vec<String>, MigrationError> {
    let ask = || -> rusqlite::Result<Vec<String>> {
        let connection = open_for_migrations(database.path())?;
        connection.pragma_update(None, "query_only", true)?;
        let mut query = connection.prepare(sql)?;
        let reasons = query.query_map([], |row| row.get(0))?;
        reasons.collect()
    };
    ask().map_err(|error| failed(component, database.label(), path, error.to_string()))
}

/// Runs `sql`, the text of `path`, in one transaction on a PostgreSQL database.
///
/// # Errors
/// When it fails; nothing of it remains.
pub async fn run_on_postgres(
    address: &PostgresAddress,
    component: &str,
    path: &Path,
    sql: &str,
) -> Result<(), MigrationError> {
    let context = Context { address, component, retired: &[] };
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let ran = sqlx::raw_sql(AssertSqlSafe(inside_execute(sql))).execute(&mut connection).await;
    let _ = connection.close().await;
    ran.map(drop).map_err(|error| failed(component, &address.to_string(), path, explain(sql, &error)))
}

/// The rows of the query `sql`, the text of `path`, on a PostgreSQL database; changes nothing.
///
/// # Errors
/// When it fails.
pub async fn reasons_on_postgres(
    address: &PostgresAddress,
    component: &str,
    path: &Path,
    sql: &str,
) -> Result<Vec<String>, MigrationError> {
    let context = Context { address, component, retired: &[] };
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let ask = async {
        sqlx::raw_sql("SET default_transaction_read_only = on").execute(&mut connection).await?;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await
    };
    let reasons = ask.await;
    let _ = connection.close().await;
    reasons.map_err(|error| failed(component, &address.to_string(), path, explain(sql, &error)))
}

fn explain(sql: &str, error: &sqlx::Error) -> String {
    let sqlx::Error::Database(database) = error else { return error.to_string() };
    let line = database.try_downcast_ref::<PgDatabaseError>().and_then(|error| line_of(sql, error));
    line.map_or_else(|| database.message().to_owned(), |line| format!("line {line}: {}", database.message()))
}

fn failed(component: &str, database: &str, path: &Path, reason: String) -> MigrationError {
    MigrationError::Seed {
        component: component.to_owned(),
        database: database.to_owned(),
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_test::postgres::{Postgres, name_of};

    const TABLE: &str = "CREATE TABLE t (n integer PRIMARY KEY, s text)";

    #[test]
    fn a_script_on_sqlite_is_done_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("a.db"), "shop").unwrap();
        database.run_script(TABLE).unwrap();
        let path = Path::new("seed/sqlite/add.sql");
        let run = |sql: &str| run_on_sqlite(&database, "one", path, sql);
        let reasons = || reasons_on_sqlite(&database, "one", path, "SELECT s FROM t ORDER BY n").unwrap();
        for wrong in [
            "INSERT INTO t VALUES (1, 'a'); INSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); COMMIT; INSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); ROLLBACK;",
            "ATTACH 'b.db' AS b;",
        ] {
            let error = run(wrong).unwrap_err().to_string();
            for part in ["component `one`", "seed/sqlite/add.sql", "`shop`", "fix: "] {
                assert!(error.contains(part), "{part}: {error}");
            }
            assert_eq!(reasons(), [""; 0], "{wrong}");
        }
        run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").unwrap();
        assert_eq!(reasons(), ["a", "b"]);
        let error = reasons_on_sqlite(&database, "one", path, "DELETE FROM t RETURNING s").unwrap_err().to_string();
        assert!(error.contains("readonly"), "{error}");
        assert_eq!(reasons(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_script_on_postgresql_is_done_as_a_whole_or_not_at_all() {
        let url = Postgres::shared().database();
        Postgres::shared().psql(name_of(&url), TABLE);
        let address = PostgresAddress::parse(&url).unwrap();
        let path = Path::new("seed/postgres/add.sql");
        for wrong in [
            "INSERT INTO t VALUES (1, 'a');\nINSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); COMMIT; INSERT INTO nowhere VALUES (1);",
        ] {
            let error = run_on_postgres(&address, "one", path, wrong).await.unwrap_err().to_string();
            assert!(error.contains("component `one`") && error.contains("seed/postgres/add.sql"), "{error}");
            assert!(!error.contains(&url), "{error}");
        }
        run_on_postgres(&address, "one", path, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await.unwrap();
        let reasons = reasons_on_postgres(&address, "one", path, "SELECT s FROM t ORDER BY n").await.unwrap();
        assert_eq!(reasons, ["a", "b"]);
        let error = reasons_on_postgres(&address, "one", path, "DELETE FROM t RETURNING s").await.unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}
