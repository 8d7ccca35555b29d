//! Exports the contract <<contract>>, and keeps its values in a database.

spin_sdk::dependencies!();

use exports::<<path>>::{Error, Guest};
use souk_database::{Database, Statement, Value, statement};

/// The same statements for SQLite and PostgreSQL; `statement!` says where the two differ.
const GET: Statement = statement!("SELECT value FROM entries WHERE key = ?1");
const SET: Statement = statement!(
    "INSERT INTO entries (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
);

struct Component;
export!(Component);

impl Guest for Component {
    fn get(key: String) -> Result<Option<String>, Error> {
        let mut rows = Database::open()?.query(GET, &[text(key)?])?;
        Ok(rows.next().map(|mut row| row.text()).transpose()?)
    }

    fn set(key: String, value: String) -> Result<(), Error> {
        Database::open()?.query(SET, &[text(key)?, text(value)?])?;
        Ok(())
    }
}

/// A text as a parameter. PostgreSQL keeps no zero byte in one.
fn text(text: String) -> Result<Value, Error> {
    match text.contains('\0') {
        true => Err(Error::Invalid("a text has no zero byte".to_owned())),
        false => Ok(Value::Text(text)),
    }
}

impl From<souk_database::Error> for Error {
    /// What the database said is in the log.
    fn from(_: souk_database::Error) -> Error {
        Error::Unavailable("the values cannot be read now".to_owned())
    }
}
