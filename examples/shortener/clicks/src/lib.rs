//! Counts clicks. A click is noted by its id in the transaction that counts it, so one that is delivered twice counts once.

spin_sdk::dependencies!();

use exports::acme::clicks::counter::{DeliveryError, Guest as Counter};
use exports::acme::clicks::reading::{Error, Guest as Reading};
use souk_database::{Database, Statement, Value, statement};

const NOTE: Statement = statement!("INSERT INTO clicks (id, code) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING RETURNING id");
const COUNT: Statement = statement!(
    "INSERT INTO totals (code, total) VALUES (?1, 1) ON CONFLICT (code) DO UPDATE SET total = totals.total + 1"
);
const TOTAL: Statement = statement!("SELECT total FROM totals WHERE code = ?1");

struct Clicks;
export!(Clicks);

impl Counter for Clicks {
    fn count(id: String, code: String) -> Result<(), DeliveryError> {
        let counted = Database::open().and_then(|database| {
            database.transaction(|transaction| {
                let click = [Value::Text(id), Value::Text(code.clone())];
                if transaction.query(NOTE, &click)?.next().is_some() {
                    transaction.query(COUNT, &[Value::Text(code)])?;
                }
                Ok::<(), souk_database::Error>(())
            })
        });
        // What the database said is in the log.
        counted.map_err(|_| DeliveryError::Retry("the database does not answer".to_owned()))
    }
}

impl Reading for Clicks {
    fn total(code: String) -> Result<u64, Error> {
        let read = || {
            let mut rows = Database::open()?.query(TOTAL, &[Value::Text(code)])?;
            rows.next().map_or(Ok(0), |mut row| row.integer())
        };
        read().map_err(|_: souk_database::Error| Error::Unavailable("the clicks cannot be read now".to_owned()))
    }
}
