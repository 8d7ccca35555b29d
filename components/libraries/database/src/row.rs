//! Rows, read column by column in the sequence of the statement. Texts are moved, not copied.

use crate::bindings::postgres::DbValue;
use crate::{Error, Value};
use spin_sdk::sqlite::RowResult;
use std::vec::IntoIter;

/// The rows of a statement.
#[derive(Debug)]
pub struct Rows(Source);

/// The rows as each interface returns them. A row is converted only when it is read.
#[derive(Debug)]
enum Source {
    Sqlite(IntoIter<RowResult>),
    Postgres(IntoIter<Vec<DbValue>>),
}

impl From<Vec<RowResult>> for Rows {
    fn from(rows: Vec<RowResult>) -> Rows {
        Rows(Source::Sqlite(rows.into_iter()))
    }
}

impl From<Vec<Vec<DbValue>>> for Rows {
    fn from(rows: Vec<Vec<DbValue>>) -> Rows {
        Rows(Source::Postgres(rows.into_iter()))
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        match &mut self.0 {
            Source::Sqlite(rows) => rows.next().map(|row| Row::new(row.values)),
            Source::Postgres(rows) => {
                rows.next().map(|row| Row { width: row.len(), columns: Columns::Postgres(row.into_iter()) })
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Sqlite(rows) => rows.size_hint(),
            Source::Postgres(rows) => rows.size_hint(),
        }
    }
}

impl ExactSizeIterator for Rows {}

/// One row. Each method reads the next column. A missing column, or one of another type, is [`Error::Internal`]: either
/// somebody else has changed the database, or the statement does not fit the code that reads its rows.
#[derive(Debug)]
pub struct Row {
    columns: Columns,
    width: usize,
}

#[derive(Debug)]
enum Columns {
    Sqlite(IntoIter<Value>),
    Postgres(IntoIter<DbValue>),
}

impl Row {
    /// A row of these values, for tests of the code that reads rows.
    pub fn new(values: Vec<Value>) -> Row {
        Row { width: values.len(), columns: Columns::Sqlite(values.into_iter()) }
    }

    /// The next column, a text.
    pub fn text(&mut self) -> Result<String, Error> {
        match self.next()? {
            Some(Value::Text(text)) => Ok(text),
            other => Err(self.unexpected("a text", other)),
        }
    }

    /// The next column, a text or null.
    pub fn optional_text(&mut self) -> Result<Option<String>, Error> {
        match self.next()? {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(self.unexpected("a text or null", other)),
        }
    }

    /// The next column, an integer that fits `T`.
    pub fn integer<T: TryFrom<i64>>(&mut self) -> Result<T, Error> {
        match self.next()? {
            Some(Value::Integer(integer)) => {
                T::try_from(integer).map_err(|_| self.unexpected("an integer in range", Some(Value::Integer(integer))))
            }
            other => Err(self.unexpected("an integer", other)),
        }
    }

    /// The next column, a boolean. SQLite stores booleans as integers, with 0 for false.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.integer::<i64>().map(|value| value != 0)
    }

    /// The next column, a blob.
    pub fn blob(&mut self) -> Result<Vec<u8>, Error> {
        match self.next()? {
            Some(Value::Blob(bytes)) => Ok(bytes),
            other => Err(self.unexpected("a blob", other)),
        }
    }

    fn next(&mut self) -> Result<Option<Value>, Error> {
        match &mut self.columns {
            Columns::Sqlite(values) => Ok(values.next()),
            Columns::Postgres(values) => values.next().map(value).transpose().map_err(|kind| self.unreadable(kind)),
        }
    }

    /// Logs which column is wrong, but not its value, which may be a customer's.
    #[cold]
    fn unexpected(&self, wanted: &str, found: Option<Value>) -> Error {
        let found = match found {
            None => return self.short(wanted),
            Some(Value::Null) => "null",
            Some(Value::Integer(_)) => "an integer",
            Some(Value::Real(_)) => "a real",
            Some(Value::Text(_)) => "a text",
            Some(Value::Blob(_)) => "a blob",
        };
        eprintln!("database: column {} of a row holds {found} where {wanted} was expected", self.column());
        Error::Internal
    }

    #[cold]
    fn unreadable(&self, kind: &str) -> Error {
        eprintln!(
            "database: column {} of a row holds {kind}, which this library does not read\n  fix: let the statement give it as a text",
            self.column()
        );
        Error::Internal
    }

    /// The number of the column that was read last, from 1.
    fn column(&self) -> usize {
        self.width
            - match &self.columns {
                Columns::Sqlite(values) => values.len(),
                Columns::Postgres(values) => values.len(),
            }
    }

    fn short(&self, wanted: &str) -> Error {
        eprintln!("database: a row has {} columns; {wanted} was expected after them", self.width);
        Error::Internal
    }
}

/// A PostgreSQL value as one of the five kinds; for any other kind, an error with its name.
fn value(value: DbValue) -> Result<Value, &'static str> {
    Ok(match value {
        DbValue::Boolean(boolean) => Value::Integer(boolean.into()),
        DbValue::Int8(integer) => Value::Integer(integer.into()),
        DbValue::Int16(integer) => Value::Integer(integer.into()),
        DbValue::Int32(integer) => Value::Integer(integer.into()),
        DbValue::Int64(integer) => Value::Integer(integer),
        DbValue::Floating32(real) => Value::Real(real.into()),
        DbValue::Floating64(real) => Value::Real(real),
        DbValue::Str(text) | DbValue::Uuid(text) | DbValue::Decimal(text) => Value::Text(text),
        DbValue::Binary(bytes) => Value::Blob(bytes),
        DbValue::DbNull => Value::Null,
        DbValue::Date(_) | DbValue::Time(_) | DbValue::Datetime(_) | DbValue::Timestamp(_) | DbValue::Interval(_) => {
            return Err("a time");
        }
        DbValue::Jsonb(_) => return Err("JSON"),
        DbValue::RangeInt32(_) | DbValue::RangeInt64(_) | DbValue::RangeDecimal(_) => return Err("a range"),
        DbValue::ArrayInt32(_) | DbValue::ArrayInt64(_) | DbValue::ArrayDecimal(_) | DbValue::ArrayStr(_) => {
            return Err("an array");
        }
        DbValue::Unsupported(_) => return Err("a type that has no form in spin:postgres"),
    })
}
