//! Payment pages of orders. Each has a number, its attempt, which is stored before the page is asked for: calls at
//! once, and calls after a crash, ask for the same attempt, and the payment provider gives each the same page.

use crate::bindings::checkout::Session;
use crate::bindings::orders::{PaymentSession, Status};
use crate::{rows, sql, time};
use souk_database::{Database, Error, Row, Value};

/// What is known of a page.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Whether it can still be paid on, as far as is known. False also where it was never opened.
    pub open: bool,
    /// The page; absent when it was never opened, or nobody knows that it was.
    pub page: Option<Page>,
}

/// A page that was opened.
#[derive(Debug)]
pub(crate) struct Page {
    /// The provider's id of it.
    pub id: String,
    /// Where it is, and where it leads.
    pub links: PaymentSession,
}

/// Stores attempt `number` of a pending order; one that is stored stays as it is. False when nothing was stored: the
/// attempt was there, or the order is not pending.
pub(crate) fn begin(database: &Database, order_id: &str, number: u32) -> Result<bool, Error> {
    Ok(database.query(sql::BEGIN_SESSION, &[order_id.into(), number.into()])?.next().is_some())
}

/// What was found when a page was stored.
#[derive(Debug, PartialEq)]
pub(crate) struct Saved {
    /// Whether the page is open by the database's clock.
    pub open: bool,
    /// The status of its order, as of the moment from which others see the page.
    pub status: Status,
}

/// Stores the page of attempt `number`. One that is stored stays, and then this is `None`.
pub(crate) fn save(
    database: &Database,
    order_id: &str,
    number: u32,
    session: &Session,
) -> Result<Option<Saved>, Error> {
    let Session { id, url, success_url, cancel_url, expires_at } = session;
    let text = |text: &String| Value::text(text.as_str());
    let ends = time::is_moment(expires_at).then_some(expires_at.as_str());
    let page = [order_id.into(), number.into(), text(id), text(url), text(success_url), text(cancel_url), ends.into()];
    let mut rows = database.query(sql::SAVE_SESSION, &page)?;
    rows.next().map(|mut row| Ok(Saved { open: row.boolean()?, status: rows::status(&mut row)? })).transpose()
}

/// Whether the page of attempt `number` is open, as far as is known.
pub(crate) fn is_open(database: &Database, order_id: &str, number: u32) -> Result<bool, Error> {
    let found = database.query(sql::SESSION, &[order_id.into(), number.into()])?.next().map(attempt).transpose()?;
    Ok(found.is_some_and(|attempt| attempt.open))
}

/// The order's first attempt.
pub(crate) fn first(database: &Database, order_id: &str) -> Result<Option<Attempt>, Error> {
    database.query(sql::FIRST_SESSION, &[order_id.into()])?.next().map(attempt).transpose()
}

/// The order's newest attempt.
pub(crate) fn last(database: &Database, order_id: &str) -> Result<Option<Attempt>, Error> {
    database.query(sql::LAST_SESSION, &[order_id.into()])?.next().map(attempt).transpose()
}

/// Notes that a page has ended.
pub(crate) fn end(database: &Database, order_id: &str, session_id: &str) -> Result<(), Error> {
    database.query(sql::END_SESSION, &[order_id.into(), session_id.into()]).map(drop)
}

/// Now, in the contract's form.
pub(crate) fn now(database: &Database) -> Result<String, Error> {
    database.query(sql::TIME, &[])?.next().map_or(Err(Error::Internal), |mut row| row.text())
}

fn attempt(mut row: Row) -> Result<Attempt, Error> {
    let (number, open) = (row.integer()?, row.boolean()?);
    let page = match row.optional_text()? {
        Some(id) => {
            let links = PaymentSession { url: row.text()?, success_url: row.text()?, cancel_url: row.text()? };
            Some(Page { id, links })
        }
        None => None,
    };
    Ok(Attempt { number, open, page })
}
