//! Asks the payment provider about open payment pages, in case its events are missing: called by an operator after an
//! outage, and by a timer.
//!
//! The provider sends events for days, the host keeps them until they are applied, and a customer who comes back to pay
//! gets an answer from the provider's current state. So this is the last safety net: for events that were sent while
//! the webhook's address or secret was wrong, and for pages that stayed open although their order was cancelled.
//!
//! Refunds whose outcome is not known are settled first: see [`refund::settle`].
//!
//! If a page could not be stored, because the process or the database died, this asks for it again and stores it.
//!
//! A payment counts as new if it was unknown when the call began. So the report also has a payment whose event arrives
//! while the provider is being asked: the operator saw a pending order, so to them it is new.
//!
//! Orders are checked in the sequence of their creation. Pages that have ended are marked, so the next call asks only
//! about pages that the provider keeps open (about a day's orders) and about pages with problems. Pages with problems
//! stay: the cause may be our key, and a wrong key must not make us give up a page. Pages of orders that were paid or
//! delivered are marked first, so that the database need not read them each time.

use crate::bindings::administration::{Problem, Report};
use crate::bindings::checkout::{self, SessionState};
use crate::bindings::orders::{Error, Order, Status};
use crate::page::{self, NoPage};
use crate::{event, refund, session, sql, store};
use souk_database::{Database, Row};
use std::time::{Duration, Instant};

/// The most orders that one call checks.
const MAX_ORDERS: u32 = 100;
/// After this time, which includes the refunds, the call begins no further order, so that it answers within the usual
/// 30 s of a call unless the provider takes very long for a single order. Changes that are stored by then stay.
const MAX_RUN_TIME: Duration = Duration::from_secs(10);
/// After this time a call marks no further pages of orders that were paid or delivered; the next call continues.
const MAX_RETIRE_TIME: Duration = Duration::from_secs(2);

/// See `reconcile` in the contract.
///
/// # Errors
/// `unavailable` when the provider or the database does not answer.
pub(crate) fn reconcile(database: &Database, minutes: u32, after: Option<&str>) -> Result<Report, Error> {
    let start = Instant::now();
    // Only for the first page of a reconciliation.
    let refunds = match after {
        None => {
            retire(database)?;
            refund::settle::settle(database, minutes, MAX_ORDERS)?
        }
        Some(_) => Vec::new(),
    };
    let pages = database.query(sql::OPEN_PAGES, &[minutes.into(), after.into(), MAX_ORDERS.into()])?;
    let pages = pages.map(open_page).collect::<Result<Vec<_>, _>>()?;
    let mut report = Report { asked: 0, paid: Vec::new(), ended: 0, problems: Vec::new(), next: None };
    report.problems.extend(refunds.into_iter().map(|(order_id, message)| Problem { order_id, message }));
    let (mut orders, mut last) = (0, None);
    for OpenPage { order_id, attempt, session_id, charges } in pages {
        if last.as_ref() != Some(&order_id) {
            // At least one order: the next call goes on after it.
            if last.is_some() && start.elapsed() > MAX_RUN_TIME {
                break;
            }
            orders += 1;
        }
        match known(database, &order_id, attempt, session_id, &mut report)? {
            PageOfAttempt::Page(session_id) => ask(database, &order_id, session_id, &charges, &mut report)?,
            PageOfAttempt::NotPending => paid_meanwhile(database, &order_id, &charges, &mut report)?,
            PageOfAttempt::Unknown => {}
        }
        last = Some(order_id);
    }
    // Fewer than the limit means that these were all, unless the time ran out.
    if orders == MAX_ORDERS || start.elapsed() > MAX_RUN_TIME {
        report.next = last;
    }
    Ok(report)
}

/// Marks the pages of orders that were paid or delivered as ended, until the time is over.
///
/// # Errors
/// Those of the database.
pub(crate) fn retire(database: &Database) -> Result<(), souk_database::Error> {
    let start = Instant::now();
    let mut more = true;
    while more && start.elapsed() < MAX_RETIRE_TIME {
        more = database.query(sql::RETIRE_PAGES, &[])?.next().is_some();
    }
    Ok(())
}

/// The page of an attempt.
enum PageOfAttempt {
    /// The provider's id of the page.
    Page(String),
    /// The order cannot be paid any more, so its page does not matter.
    NotPending,
    /// Nobody knows whether there is a page; the report says why.
    Unknown,
}

/// Finds the page of an attempt; a page that was not stored is requested again.
fn known(
    database: &Database,
    order_id: &str,
    attempt: u32,
    session_id: Option<String>,
    report: &mut Report,
) -> Result<PageOfAttempt, Error> {
    if let Some(session_id) = session_id {
        return Ok(PageOfAttempt::Page(session_id));
    }
    match page::reopen(database, order_id, attempt) {
        Ok(session_id) => Ok(session_id.map_or(PageOfAttempt::NotPending, PageOfAttempt::Page)),
        // An unusable answer about one page must not keep the following pages from being checked.
        Err(NoPage::Refused(message) | NoPage::TryLater(message)) => {
            report.problems.push(Problem { order_id: order_id.to_owned(), message });
            Ok(PageOfAttempt::Unknown)
        }
        Err(NoPage::Error(error)) => Err(error),
    }
}

/// Asks the provider for the state of one page, and stores the consequences. `charges` are the charges of the order
/// that were known before.
fn ask(
    database: &Database,
    order_id: &str,
    session_id: String,
    charges: &[String],
    report: &mut Report,
) -> Result<(), Error> {
    report.asked += 1;
    let state = match checkout::get_session(&session_id) {
        Ok(state) => state,
        Err(checkout::Error::Invalid(text)) => {
            let message = format!("the payment provider does not know the page {session_id:?}: {text}");
            report.problems.push(Problem { order_id: order_id.to_owned(), message });
            return Ok(());
        }
        Err(checkout::Error::Internal(text)) => {
            let message = format!("the payment provider's answer about the page {session_id:?} is unusable: {text}");
            report.problems.push(Problem { order_id: order_id.to_owned(), message });
            return Ok(());
        }
        Err(checkout::Error::Unavailable(text)) => return Err(Error::Unavailable(text)),
    };
    let order = store::find(database, order_id, None)?;
    match state {
        SessionState::Open if order.status == Status::Cancelled => {
            let ended = page::end(database, order_id, &session_id);
            report.ended += u32::from(ended);
            if !ended {
                let message = format!("it is cancelled, and its page {session_id:?} cannot be ended");
                report.problems.push(Problem { order_id: order_id.to_owned(), message });
            }
        }
        SessionState::Open => {}
        SessionState::Expired => {
            session::end(database, order_id, &session_id)?;
            report.ended += 1;
        }
        SessionState::Paid(payment) => paid(database, &order, payment, &session_id, charges, report)?,
    }
    Ok(())
}

/// Handles a page on which somebody has paid. The payment is not new if its charge was known when this call began.
fn paid(
    database: &Database,
    order: &Order,
    payment: checkout::Payment,
    session_id: &str,
    charges: &[String],
    report: &mut Report,
) -> Result<(), Error> {
    let charge = payment.charge_id.clone();
    if let Err(message) = page::note(database, order, payment)? {
        report.problems.push(Problem { order_id: order.id.clone(), message });
        return Ok(());
    }
    // Nobody can pay on this page again.
    session::end(database, &order.id, session_id)?;
    if !charges.contains(&charge) {
        eprintln!("order {}: charge {charge:?} was found by reconciliation; no event had reported it before", order.id);
        report_paid(&order.id, report);
    }
    Ok(())
}

/// Reports an order that stopped being pending during this call, if it has a charge that was unknown before.
fn paid_meanwhile(database: &Database, order_id: &str, charges: &[String], report: &mut Report) -> Result<(), Error> {
    let known = database.query(sql::CHARGES, &[order_id.into()])?;
    let known = known.map(event::known_charge).collect::<Result<Vec<_>, _>>()?;
    if known.iter().any(|charge| !charges.contains(&charge.id)) {
        report_paid(order_id, report);
    }
    Ok(())
}

/// Reports an order once, even if two of its pages were paid.
fn report_paid(order_id: &str, report: &mut Report) {
    if !report.paid.iter().any(|paid| paid == order_id) {
        report.paid.push(order_id.to_owned());
    }
}

/// A page that may be open.
struct OpenPage {
    order_id: String,
    attempt: u32,
    /// Absent when nobody knows whether the page was opened.
    session_id: Option<String>,
    /// The charges of the order that were known when the call began.
    charges: Vec<String>,
}

fn open_page(mut row: Row) -> Result<OpenPage, souk_database::Error> {
    let (order_id, attempt, session_id) = (row.text()?, row.integer()?, row.optional_text()?);
    let charges = serde_json::from_str(&row.text()?).map_err(|_| souk_database::Error::Internal)?;
    Ok(OpenPage { order_id, attempt, session_id, charges })
}
