//! Replaces `spin:sqlite` in native unit tests: rusqlite with the types of the interface.

use rusqlite::params_from_iter;
use rusqlite::types::{Value as Cell, ValueRef};
use spin_sdk::sqlite::wit::sqlite::QueryResult;
use spin_sdk::sqlite::{Error, RowResult, Value};

/// Replaces the interface's `connection`.
#[derive(Debug)]
pub(crate) struct Sqlite(rusqlite::Connection);

impl Sqlite {
    /// There are no grants in native code.
    pub(crate) fn open(_label: &str) -> Result<Sqlite, Error> {
        Err(Error::AccessDenied)
    }

    pub(crate) fn in_memory(migrations: &[&str]) -> Sqlite {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        for migration in migrations {
            connection.execute_batch(migration).unwrap();
        }
        Sqlite(connection)
    }

    pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<QueryResult, Error> {
        self.run(statement, parameters).map_err(|e| Error::Io(e.to_string()))
    }

    fn run(&self, text: &str, parameters: &[Value]) -> Result<QueryResult, rusqlite::Error> {
        assert!(
            !text.contains("LIMIT ?"),
            "SQLite would prepare this statement again at each use; write the parameter of LIMIT with `most!`: {text}"
        );
        let mut statement = self.0.prepare_cached(text)?;
        let columns = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
        let mut found = statement.query(params_from_iter(parameters.iter().map(cell)))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let values = (0..columns.len()).map(|column| row.get_ref(column).map(value));
            rows.push(RowResult { values: values.collect::<Result<_, _>>()? });
        }
        Ok(QueryResult { columns, rows })
    }
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Integer(i) => Cell::Integer(*i),
        Value::Real(f) => Cell::Real(*f),
        Value::Text(s) => Cell::Text(s.clone()),
        Value::Blob(b) => Cell::Blob(b.clone()),
        Value::Null => Cell::Null,
    }
}

fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Integer(i) => Value::Integer(i),
        ValueRef::Real(f) => Value::Real(f),
        ValueRef::Text(s) => Value::Text(String::from_utf8_lossy(s).into_owned()),
        ValueRef::Blob(b) => Value::Blob(b.to_vec()),
        ValueRef::Null => Value::Null,
    }
}
