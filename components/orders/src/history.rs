//! Reads the history of an order and of its refunds: who changed what, when, and in which request. The database's
//! triggers write an entry in the same statement as the change.

use crate::bindings::history::{Change, What};
use crate::bindings::orders::{Actor, Error};
use crate::store;
use souk_database::{Database, Row, Statement, most, statement, time};

/// The most changes that are returned. An order has about a dozen, and three more for each refund.
const MAX_CHANGES: u32 = 1000;

/// Parameters: order, limit.
const HISTORY: Statement = statement!(
    "SELECT ",
    (time!("at")),
    ", changed_by, trace, what, subject, old, new FROM order_history WHERE order_id = ?1 ORDER BY seq LIMIT ",
    (most!("?2"))
);

/// The changes of an order, the oldest first.
///
/// # Errors
/// `not-found`; `forbidden` for customers; the database's.
pub(crate) fn list(database: &Database, actor: &Actor, id: &str) -> Result<Vec<Change>, Error> {
    store::find(database, id, actor.sees())?;
    if matches!(actor, Actor::Customer(_)) {
        return Err(Error::Forbidden("only administrators see who changed an order".into()));
    }
    let changes = database.query(HISTORY, &[id.into(), MAX_CHANGES.into()])?;
    Ok(changes.map(change).collect::<Result<Vec<_>, _>>()?)
}

fn change(mut row: Row) -> Result<Change, souk_database::Error> {
    Ok(Change {
        at: row.text()?,
        by: row.optional_text()?,
        trace: row.optional_text()?,
        what: what(&row.text()?)?,
        subject: row.optional_text()?,
        from: row.optional_text()?,
        to: row.optional_text()?,
    })
}

fn what(text: &str) -> Result<What, souk_database::Error> {
    match text {
        "STATUS" => Ok(What::Status),
        "CHARGE" => Ok(What::Charge),
        "REFUNDED" => Ok(What::RefundedCents),
        "REFUND_DUE" => Ok(What::RefundDueCents),
        "DISPUTE" => Ok(What::Dispute),
        "REFUND" => Ok(What::Refund),
        _ => {
            eprintln!("database: a change of an order has an unknown kind");
            Err(souk_database::Error::Internal)
        }
    }
}

#[cfg(test)]
mod tests;
