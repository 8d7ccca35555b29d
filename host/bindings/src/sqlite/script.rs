//! Statements that an operator runs on a database before the application serves requests: `souk up --sqlite`.
//!
//! They run unchanged, on a separate connection, without a component's limits.

use super::engine::open_for_migrations;
use super::{BUSY_TIMEOUT, Database};

impl Database {
    /// Runs the statements of `sql`. Blocks on the disk.
    ///
    /// # Errors
    /// SQLite's error, without the statements, which may contain secrets.
    pub fn run_script(&self, sql: &str) -> Result<(), String> {
        let connection = open_for_migrations(self.path(), self.max_bytes()).map_err(|error| error.to_string())?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| error.to_string())?;
        let ran = connection.execute_batch(sql);
        // A failed script may have changed the schema too.
        let looked = self.look_for_virtual_tables(&connection);
        ran.map_err(|error| match error {
            rusqlite::Error::SqlInputError { msg, .. } => msg,
            other => other.to_string(),
        })?;
        looked.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_run_one_after_the_other_and_an_error_does_not_show_them() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("a.db"), "default", 1 << 20).unwrap();
        let script = "CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);";
        database.run_script(script).unwrap();
        database.run_script(script).unwrap();
        let read = rusqlite::Connection::open(database.path()).unwrap();
        assert_eq!(read.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(4));
        let error = database.run_script("INSERT INTO none VALUES ('s3cret')").unwrap_err();
        assert!(error.contains("no such table") && !error.contains("s3cret"), "{error}");
    }
}
