//! Rows, read column by column in the order of the statement. Texts are moved out, not copied.

use crate::{Error, Value};
use spin_sdk::sqlite::RowResult;

/// The rows of a statement.
#[derive(Debug)]
pub struct Rows(std::vec::IntoIter<RowResult>);

impl Rows {
    pub(crate) fn new(rows: Vec<RowResult>) -> Rows {
        Rows(rows.into_iter())
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        self.0.next().map(|row| Row::new(row.values))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Rows {}

/// One row. Each method takes the next column; a column of another type, or none, is [`Error::Internal`]: only a
/// database that other hands changed, or a statement that does not fit its decoder, has one.
#[derive(Debug)]
pub struct Row {
    values: std::vec::IntoIter<Value>,
    width: usize,
}

impl Row {
    /// A row of these values; for decoders' tests.
    pub fn new(values: Vec<Value>) -> Row {
        Row { width: values.len(), values: values.into_iter() }
    }

    /// The next column, a text.
    pub fn text(&mut self) -> Result<String, Error> {
        match self.values.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(self.unexpected("a text", other)),
        }
    }

    /// The next column, a text or null.
    pub fn optional_text(&mut self) -> Result<Option<String>, Error> {
        match self.values.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(self.unexpected("a text or null", other)),
        }
    }

    /// The next column, an integer that fits `T`.
    pub fn integer<T: TryFrom<i64>>(&mut self) -> Result<T, Error> {
        match self.values.next() {
            Some(Value::Integer(integer)) => {
                T::try_from(integer).map_err(|_| self.unexpected("an integer in range", Some(Value::Integer(integer))))
            }
            other => Err(self.unexpected("an integer", other)),
        }
    }

    /// The next column, a truth value: 0 or another integer.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.integer::<i64>().map(|value| value != 0)
    }

    /// The next column, a blob.
    pub fn blob(&mut self) -> Result<Vec<u8>, Error> {
        match self.values.next() {
            Some(Value::Blob(bytes)) => Ok(bytes),
            other => Err(self.unexpected("a blob", other)),
        }
    }

    /// Logs which column is wrong; not its value, which may be a customer's.
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
        let column = self.width - self.values.len();
        eprintln!("database: column {column} of a row holds {found} where {wanted} was expected");
        Error::Internal
    }

    fn short(&self, wanted: &str) -> Error {
        eprintln!("database: a row has {} columns; {wanted} was expected after them", self.width);
        Error::Internal
    }
}
