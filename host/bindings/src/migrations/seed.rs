//! Example data of a component: scripts beside its migrations that insert rows into its tables and remove them.
//!
//! There are up to three. `add.sql` and `remove.sql` each run in one transaction and may run again at any time, so
//! `add.sql` must not change rows that exist. `keep.sql` is a query; each of its rows is a reason, as text, why the
//! example data must stay. Rows of other components may refer to example data, and only those components know. So a host
//! can remove example data without knowing what it means.
//!
//! A script in the seed's folder itself is for both kinds of database. The script in `sqlite/` or `postgres/` runs after
//! it, if one kind needs more or needs another script altogether.
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

/// A file of a script.
#[derive(Debug)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub sql: String,
}

/// The files of a script, in their order; none when the seed has none of this kind for this kind of database.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read(component: &str, folder: &Path, target: &Target<'_>, script: Script) -> Result<Vec<Part>, MigrationError> {
    let kind = match target {
        Target::Sqlite(_) => Kind::Sqlite,
        Target::Postgres(_) => Kind::Postgres,
    };
    let mut parts = Vec::new();
    for path in [folder.join(script.file()), folder.join(kind.folder()).join(script.file())] {
        match std::fs::read_to_string(&path) {
            Ok(sql) => parts.push(Part { path, sql }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(MigrationError::File {
                    component: component.to_owned(),
                    path,
                    reason: format!("the file cannot be read: {e}"),
                    fix: "make it a text file that the host's user can read",
                });
            }
        }
    }
    Ok(parts)
}

/// Runs a script in one transaction on a SQLite database. Blocks on the disk.
///
/// # Errors
/// When it fails; nothing of it remains.
pub fn run_on_sqlite(database: &Database, component: &str, script: &[Part]) -> Result<(), MigrationError> {
    let failed = |path: &Path, reason| failed(component, database.label(), path, reason);
    let Some(last) = script.last() else { return Ok(()) };
    let plain = |error: rusqlite::Error| failed(&last.path, error.to_string());
    let mut connection = open_for_migrations(database.path(), database.max_bytes()).map_err(plain)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(plain)?;
    let gauge = guard::install_for_script(&mut connection).map_err(plain)?;
    // Dropping a connection rolls back its open transaction.
    for Part { path, sql } in script {
        connection.execute_batch(sql).map_err(|error| failed(path, sqlite::explain(&error, &gauge)))?;
    }
    guard::remove(&mut connection).map_err(plain)?;
    connection.execute_batch("COMMIT").map_err(plain)?;
    database.look_for_virtual_tables(&connection).map_err(plain)
}

/// The rows of a script's queries on a SQLite database. Blocks on the disk; changes nothing.
///
/// # Errors
/// When one fails.
pub fn reasons_on_sqlite(database: &Database, component: &str, script: &[Part]) -> Result<Vec<String>, MigrationError> {
    let ask = |sql: &str| -> rusqlite::Result<Vec<String>> {
        let connection = open_for_migrations(database.path(), database.max_bytes())?;
        connection.pragma_update(None, "query_only", true)?;
        let mut query = connection.prepare(sql)?;
        let reasons = query.query_map([], |row| row.get(0))?;
        reasons.collect()
    };
    let mut reasons = Vec::new();
    for Part { path, sql } in script {
        reasons.extend(ask(sql).map_err(|error| failed(component, database.label(), path, error.to_string()))?);
    }
    Ok(reasons)
}

/// Runs a script in one transaction on a PostgreSQL database.
///
/// # Errors
/// When it fails; nothing of it remains.
pub async fn run_on_postgres(
    address: &PostgresAddress,
    component: &str,
    script: &[Part],
) -> Result<(), MigrationError> {
    let Some(last) = script.last() else { return Ok(()) };
    let context = Context { address, component, retired: &[] };
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let run = async {
        let mut transaction = connection.begin().await.map_err(|error| (last, error))?;
        for part in script {
            let statement = sqlx::raw_sql(AssertSqlSafe(inside_execute(&part.sql)));
            statement.execute(&mut *transaction).await.map_err(|error| (part, error))?;
        }
        transaction.commit().await.map_err(|error| (last, error))
    };
    let ran = run.await;
    let _ = connection.close().await;
    ran.map_err(|(Part { path, sql }, error)| failed(component, &address.to_string(), path, explain(sql, &error)))
}

/// The rows of a script's queries on a PostgreSQL database; changes nothing.
///
/// # Errors
/// When one fails.
pub async fn reasons_on_postgres(
    address: &PostgresAddress,
    component: &str,
    script: &[Part],
) -> Result<Vec<String>, MigrationError> {
    let Some(first) = script.first() else { return Ok(Vec::new()) };
    let context = Context { address, component, retired: &[] };
    let mut connection = context.connect(CONNECT_TIMEOUT).await?;
    let ask = async {
        let read_only = sqlx::raw_sql("SET default_transaction_read_only = on").execute(&mut connection).await;
        read_only.map_err(|error| (first, error))?;
        let mut reasons: Vec<String> = Vec::new();
        for part in script {
            let query = sqlx::query_scalar(AssertSqlSafe(part.sql.clone()));
            reasons.extend(query.fetch_all(&mut connection).await.map_err(|error| (part, error))?);
        }
        Ok(reasons)
    };
    let reasons = ask.await;
    let _ = connection.close().await;
    reasons.map_err(|(Part { path, sql }, error)| failed(component, &address.to_string(), path, explain(sql, &error)))
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

    /// The parts of a script, from the folder itself and from that of one kind.
    fn parts<const N: usize>(texts: [&str; N]) -> [Part; N] {
        let mut paths = ["seed/add.sql", "seed/kind/add.sql"].into_iter();
        texts.map(|sql| Part { path: paths.next().unwrap().into(), sql: sql.to_owned() })
    }

    #[test]
    fn a_script_of_the_folder_itself_comes_first_and_is_for_both_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for kind in ["sqlite", "postgres"] {
            std::fs::create_dir(path(kind)).unwrap();
        }
        for (name, sql) in [("add.sql", "both"), ("postgres/add.sql", "more"), ("sqlite/remove.sql", "own")] {
            std::fs::write(path(name), sql).unwrap();
        }
        let address = PostgresAddress::parse("postgres://a@b/c").unwrap();
        let found = |target: &Target<'_>, script| {
            let parts = read("one", folder.path(), target, script).unwrap();
            parts.into_iter().map(|part| part.sql).collect::<Vec<_>>()
        };
        let (sqlite, postgres) = (Target::Sqlite("shop"), Target::Postgres(&address));
        assert_eq!(found(&sqlite, Script::Add), ["both"]);
        assert_eq!(found(&postgres, Script::Add), ["both", "more"]);
        assert_eq!(found(&sqlite, Script::Remove), ["own"]);
        assert_eq!(found(&postgres, Script::Remove), [""; 0]);
    }

    #[test]
    fn a_script_on_sqlite_is_done_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("a.db"), "shop", 1 << 20).unwrap();
        database.run_script(TABLE).unwrap();
        let run = |sql: &str| run_on_sqlite(&database, "one", &parts(["INSERT INTO t VALUES (0, 'z')", sql]));
        let ask = |sql: &str| reasons_on_sqlite(&database, "one", &parts([sql]));
        let reasons = || ask("SELECT s FROM t ORDER BY n").unwrap();
        for wrong in [
            "INSERT INTO t VALUES (1, 'a'); INSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); COMMIT; INSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); ROLLBACK;",
            "ATTACH 'b.db' AS b;",
        ] {
            let error = run(wrong).unwrap_err().to_string();
            for part in ["component `one`", "seed/kind/add.sql", "`shop`", "fix: "] {
                assert!(error.contains(part), "{part}: {error}");
            }
            assert_eq!(reasons(), [""; 0], "{wrong}");
        }
        run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").unwrap();
        assert_eq!(reasons(), ["z", "a", "b"]);
        let error = ask("DELETE FROM t RETURNING s").unwrap_err().to_string();
        assert!(error.contains("readonly"), "{error}");
        assert_eq!(reasons(), ["z", "a", "b"]);
    }

    #[tokio::test]
    async fn a_script_on_postgresql_is_done_as_a_whole_or_not_at_all() {
        let url = Postgres::shared().database();
        Postgres::shared().psql(name_of(&url), TABLE);
        let address = PostgresAddress::parse(&url).unwrap();
        let script = |sql: &str| parts(["INSERT INTO t VALUES (0, 'z')", sql]);
        for wrong in [
            "INSERT INTO t VALUES (1, 'a');\nINSERT INTO nowhere VALUES (1);",
            "INSERT INTO t VALUES (1, 'a'); COMMIT; INSERT INTO nowhere VALUES (1);",
        ] {
            let error = run_on_postgres(&address, "one", &script(wrong)).await.unwrap_err().to_string();
            assert!(error.contains("component `one`") && error.contains("seed/kind/add.sql"), "{error}");
            assert!(!error.contains(&url), "{error}");
        }
        run_on_postgres(&address, "one", &script("INSERT INTO t VALUES (1, 'a'), (2, 'b')")).await.unwrap();
        let ask = async |sql: &str| reasons_on_postgres(&address, "one", &parts([sql])).await;
        assert_eq!(ask("SELECT s FROM t ORDER BY n").await.unwrap(), ["z", "a", "b"]);
        let error = ask("DELETE FROM t RETURNING s").await.unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}
