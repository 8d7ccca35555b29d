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
    read().map_err(|error| MoveError::Source { file: path.display().to_string(), cause: error.to_string() })
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        ValueRef::Blob(bytes) => hex::encode(bytes).into(),
    }
}

/// Sends the rows of a query on a PostgreSQL database; ends early when the receiver is gone.
///
/// # Errors
/// When the server does not answer, or the query does not fit the database.
pub async fn read_postgres(address: &PostgresAddress, query: &str, to: &Sender<String>) -> Result<(), MoveError> {
    let failed = |cause: String| MoveError::Target { place: address.to_string(), cause };
    let options = connect_options(address).map_err(|error| failed(error.message))?;
    let mut connection = options.connect().await.map_err(|error| failed(error.to_string()))?;
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
    done.map_err(|error| failed(error.to_string()))
}
