//! Reads rows of other systems as JSON objects, for `souk import`. It never writes to them.

use super::MoveError;
use crate::postgres::connect_options;
use futures::TryStreamExt as _;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};
use souk_manifest::PostgresAddress;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::path::Path;
use tokio::sync::mpsc::Sender;

/// Sends the rows of a query on a SQLite file. Blocks on the disk; ends early when the receiver is gone.
///
/// # Errors
/// When the file is not a SQLite database, or the query does not fit it.
pub fn read_sqlite(path: &Path, query: &str, to: &Sender<String>) -> Result<(), MoveError> {
    let read = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let mut statement = connection.prepare(query)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut object = Map::new();
            for (n, name) in names.iter().enumerate() {
                object.insert(name.clone(), json(row.get_ref(n)?));
            }
            if to.blocking_send(Value::Object(object).to_string()).is_err() {
                break;
            }
        }
        Ok(())
    };
    let fix = "name a SQLite file that has the tables of that system, and copy it again if it is damaged";
    read().map_err(|error| MoveError::Rows { place: path.display().to_string(), cause: error.to_string(), fix })
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => str::from_utf8(bytes).map_or_else(|_| binary(bytes), Value::from),
        ValueRef::Blob(bytes) => binary(bytes),
    }
}

/// What is no text must not be taken for one: it becomes an object, so that a component refuses the row.
fn binary(bytes: &[u8]) -> Value {
    serde_json::json!({ "$binary": hex::encode(bytes) })
}

/// Sends the rows of a query on a PostgreSQL database; ends early when the receiver is gone.
///
/// # Errors
/// When the server does not answer, or the query does not fit the database.
pub async fn read_postgres(address: &PostgresAddress, query: &str, to: &Sender<String>) -> Result<(), MoveError> {
    let failed = |cause: String, fix| MoveError::Rows { place: address.to_string(), cause, fix };
    let options = connect_options(address).map_err(|error| failed(error.message, error.fix))?;
    let connected = options.connect().await;
    let mut connection =
        connected.map_err(|error| failed(error.to_string(), "correct the URL, and start the server"))?;
    let read = async {
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        let query = format!("SELECT row_to_json(imported)::text FROM ({query}) AS imported");
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(&mut connection);
        while let Some(row) = rows.try_next().await? {
            if to.send(row.try_get(0)?).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let done: Result<(), sqlx::Error> = read.await;
    done.map_err(|error| {
        let fix = match error {
            sqlx::Error::Database(_) => "name the database of that system, and a user who may read its tables",
            _ => "run the import again: it continues where it stopped",
        };
        failed(error.to_string(), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn a_file_that_is_damaged_or_has_other_tables_is_named_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = || {
            let (to, _rows) = mpsc::channel(8);
            read_sqlite(file.path(), "SELECT a FROM other", &to).unwrap_err().to_string()
        };
        let other = read();
        assert!(other.contains("no such table: other") && other.contains("fix: name a SQLite file"), "{other}");
        std::fs::write(file.path(), [b"SQLite format 3\0".as_slice(), &[7; 4096]].concat()).unwrap();
        let damaged = read();
        assert!(damaged.contains("fix: name a SQLite file") && !damaged.contains("--from"), "{damaged}");
    }

    #[test]
    fn what_is_no_text_is_not_taken_for_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE t (name TEXT)").unwrap();
        let (to, mut rows) = mpsc::channel(8);
        let query = "SELECT CAST(X'4AF672' AS TEXT) AS latin, X'4a' AS blob, 'J' AS text, 1 AS n, 9e999 AS x";
        read_sqlite(file.path(), query, &to).unwrap();
        let row: Value = serde_json::from_str(&rows.try_recv().unwrap()).unwrap();
        let expected = serde_json::json!({
            "latin": { "$binary": "4af672" }, "blob": { "$binary": "4a" }, "text": "J", "n": 1, "x": null,
        });
        assert_eq!(row, expected);
    }
}
