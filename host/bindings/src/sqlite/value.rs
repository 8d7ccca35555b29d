//! Converts values between SQLite and the interface.
//!
//! Text in SQLite can be any bytes; a WIT string is UTF-8. Text that is not UTF-8 is an error that names the column and
//! the fix (`CAST(... AS BLOB)`): replacing characters would silently change a guest's data.

use super::{Error, RowResult, Value};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// The memory for a value's place in the row, without its own bytes.
const CELL_BYTES: usize = size_of::<Value>();

/// The bytes that these values take.
pub(super) fn weight(values: &[Value]) -> usize {
    let bytes = values.iter().map(|value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Integer(_) | Value::Real(_) | Value::Null => 0,
    });
    bytes.sum::<usize>() + size_of_val(values)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Integer(n) => ValueRef::Integer(*n),
            Value::Real(f) => ValueRef::Real(*f),
            Value::Text(s) => ValueRef::Text(s.as_bytes()),
            Value::Blob(b) => ValueRef::Blob(b),
            Value::Null => ValueRef::Null,
        }))
    }
}

/// The values of a row of `columns` columns, and their size in memory.
pub(super) fn read_row(row: &rusqlite::Row<'_>, columns: usize) -> Result<(RowResult, usize), RowError> {
    let mut values = Vec::with_capacity(columns);
    let mut bytes = 0;
    for index in 0..columns {
        let value = match row.get_ref(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(n) => Value::Integer(n),
            ValueRef::Real(f) => Value::Real(f),
            ValueRef::Blob(b) => Value::Blob(b.to_vec()),
            ValueRef::Text(t) => match std::str::from_utf8(t) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => return Err(RowError::Value(not_utf8(row, index))),
            },
        };
        bytes += CELL_BYTES
            + match &value {
                Value::Text(s) => s.len(),
                Value::Blob(b) => b.len(),
                _ => 0,
            };
        values.push(value);
    }
    Ok((RowResult { values }, bytes))
}

/// Why a row could not be read.
pub(super) enum RowError {
    /// SQLite's reason.
    Sqlite(rusqlite::Error),
    /// A value that the interface cannot represent.
    Value(Error),
}

impl From<rusqlite::Error> for RowError {
    fn from(e: rusqlite::Error) -> Self {
        RowError::Sqlite(e)
    }
}

fn not_utf8(row: &rusqlite::Row<'_>, index: usize) -> Error {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    let name = statement.column_name(index).unwrap_or("?");
    Error::Io(format!("column `{name}` holds text that is not UTF-8; select it as CAST({name} AS BLOB)"))
}
