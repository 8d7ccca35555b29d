//! Takes what is delivered by <<contract>>, and keeps it in a database. The id is the primary key: what is delivered
//! twice is kept once.

spin_sdk::dependencies!();

use exports::<<package_path>>::kept::{Error, Guest as Kept};
use exports::<<path>>::{DeliveryError, Guest as Inbox};
use souk_database::{Database, Statement, Value, statement};

/// The same statements for SQLite and PostgreSQL; `statement!` says where the two differ.
const KEEP: Statement = statement!("INSERT INTO messages (id, text) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING");
const READ: Statement = statement!("SELECT text FROM messages WHERE id = ?1");

struct Component;
export!(Component);

impl Inbox for Component {
    fn deliver(id: String, text: String) -> Result<(), DeliveryError> {
        // PostgreSQL keeps no zero byte in a text.
        if text.is_empty() || text.contains('\0') || id.contains('\0') {
            return Err(DeliveryError::Reject("a message needs a text and an id without zero bytes".to_owned()));
        }
        let kept = Database::open().and_then(|database| database.query(KEEP, &[Value::Text(id), Value::Text(text)]));
        // What the database said is in the log.
        kept.map(|_| ()).map_err(|_| DeliveryError::Retry("the database does not answer".to_owned()))
    }
}

impl Kept for Component {
    fn read(id: String) -> Result<Option<String>, Error> {
        let read = || Database::open()?.query(READ, &[Value::Text(id)])?.next().map(|mut row| row.text()).transpose();
        read().map_err(|_: souk_database::Error| Error::Unavailable("the database does not answer".to_owned()))
    }
}
