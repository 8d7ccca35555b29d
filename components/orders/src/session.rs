//! Payment pages of orders. Each page belongs to a numbered attempt, which is stored before the page is requested. So
//! concurrent calls, and calls after a crash, request the same attempt, and the payment provider gives them all the
//! same page.

use crate::bindings::checkout::Session;
use crate::bindings::orders::{PaymentSession, Status};
use crate::{rows, sql, time};
use souk_database::{Database, Error, Row, Value};

/// What is known about a page.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Whether customers can still pay on it, as far as we know. False also if it was never opened.
    pub open: bool,
    /// The page; absent if it was never opened, or if nobody knows that it was.
    pub page: Option<Page>,
}

/// A page that was opened.
#[derive(Debug)]
pub(crate) struct Page {
    /// The provider's id of the page.
    pub id: String,
    /// The URL of the page, and the URLs to which it returns.
    pub links: PaymentSession,
}

/// Stores attempt `number` of a pending order. False when nothing was stored: the attempt exists already and stays as
/// it is, or the order is not pending.
pub(crate) fn begin(database: &Database, order_id: &str, number: u32) -> Result<bool, Error> {
    Ok(database.query(sql::BEGIN_SESSION, &[order_id.into(), number.into()])?.next().is_some())
}

/// The state at the moment when a page was stored.
#[derive(Debug, PartialEq)]
pub(crate) struct Saved {
    /// Whether the page is open by the database's clock.
    pub open: bool,
    /// The status of the order at the moment from which others see the page.
    pub status: Status,
}

/// Stores the page of attempt `number`. A page that is already stored stays; the result is then `None`.
pub(crate) fn save(
    database: &Database,
    order_id: &str,
    number: u32,
    session: &Session,
) -> Result<Option<Saved>, Error> {
    let Session { id, url, success_url, cancel_url, expires_at } = session;
    let text = |text: &String| Value::text(text.as_str());
    let ends = time::is_rfc3339_utc(expires_at).then_some(expires_at.as_str());
    let page = [order_id.into(), number.into(), text(id), text(url), text(success_url), text(cancel_url), ends.into()];
    let mut rows = database.query(sql::SAVE_SESSION, &page)?;
    rows.next().map(|mut row| Ok(Saved { open: row.boolean()?, status: rows::status(&mut row)? })).transpose()
}

/// Whether the page of attempt `number` is open, as far as we know.
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

/// The current time, in the contract's form.
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
