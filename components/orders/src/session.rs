//! Payment pages of orders. Each has a number, its attempt, which is stored before the page is asked for: calls at
//! once, and calls after a crash, ask for the same attempt, and the payment provider gives each the same page.

use crate::bindings::checkout::Session;
use crate::bindings::orders::PaymentSession;
use crate::sql;
use database::{Database, Error, Row, Value};

/// What is known of a page.
#[derive(Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Whether it can still be paid on, as far as is known. False also where it was never opened.
    pub open: bool,
    /// The page; absent when it was never opened, or nobody knows that it was.
    pub page: Option<PaymentSession>,
}

/// Stores attempt `number` of a pending order; one that is stored stays as it is.
pub fn begin(database: &Database, order_id: &str, number: u32) -> Result<(), Error> {
    database.query(sql::BEGIN_SESSION, &[order_id.into(), number.into()]).map(drop)
}

/// Stores the page of attempt `number`.
pub fn save(database: &Database, order_id: &str, number: u32, session: &Session) -> Result<(), Error> {
    let Session { id, url, success_url, cancel_url, expires_at } = session;
    let text = |text: &String| Value::text(text.as_str());
    let page =
        [order_id.into(), number.into(), text(id), text(url), text(success_url), text(cancel_url), text(expires_at)];
    database.query(sql::SAVE_SESSION, &page).map(drop)
}

/// The order's first attempt.
pub fn first(database: &Database, order_id: &str) -> Result<Option<Attempt>, Error> {
    database.query(sql::FIRST_SESSION, &[order_id.into()])?.next().map(attempt).transpose()
}

/// The order's newest attempt.
pub fn last(database: &Database, order_id: &str) -> Result<Option<Attempt>, Error> {
    database.query(sql::LAST_SESSION, &[order_id.into()])?.next().map(attempt).transpose()
}

/// Notes that a page has ended.
pub fn end(database: &Database, order_id: &str, session_id: &str) -> Result<(), Error> {
    database.query(sql::END_SESSION, &[order_id.into(), session_id.into()]).map(drop)
}

fn attempt(mut row: Row) -> Result<Attempt, Error> {
    let (number, open) = (row.integer()?, row.boolean()?);
    let page = match row.optional_text()? {
        Some(url) => Some(PaymentSession { url, success_url: row.text()?, cancel_url: row.text()? }),
        None => None,
    };
    Ok(Attempt { number, open, page })
}
