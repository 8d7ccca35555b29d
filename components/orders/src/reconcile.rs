//! What the payment provider knows and its events have not told: asked for by an operator, after an outage or by a timer.
//!
//! Events are sent for days, kept by the application until they are applied, and a customer who comes back is answered
//! by what the provider knows. So this is the last net: for events that were sent while the webhook's address or secret
//! was wrong, and for pages that outlived a cancelled order.
//!
//! A page that could not be stored, because the process died or the database did, is asked for again, and stored.
//!
//! What is news is decided by what was known when the call began, so that a payment is reported whose event comes while the
//! provider is asked about it: to the operator, who saw a pending order, it is news either way.
//!
//! Orders are looked at in the order in which they were made. Pages that have ended are noted, so what is left to ask
//! about is what the provider keeps open, a day's orders, and the problems: those are asked about each time, because what
//! is wrong may be our key, and a page must not be given up for that.

use crate::bindings::administration::{Problem, Report};
use crate::bindings::checkout::{self, SessionState};
use crate::bindings::orders::{Error, Order, Status};
use crate::page::{self, NoPage};
use crate::{event, refund, session, sql, store};
use souk_database::{Database, Row};
use std::time::{Duration, Instant};

/// The most orders that one call checks.
const MAX_ORDERS: u32 = 100;
/// After this time a call starts no further order, so that it answers within the usual 30 s of a call unless the
/// provider takes so long for one order alone. What was fixed until then stays.
const MAX_RUN_TIME: Duration = Duration::from_secs(10);

/// See the contract.
///
/// # Errors
/// `unavailable` when the provider or the database does not answer.
pub(crate) fn reconcile(database: &Database, minutes: u32, after: Option<&str>) -> Result<Report, Error> {
    // Once for all pages of a reconciliation.
    let refunds = match after {
        None => refund::ask_again(database, minutes, MAX_ORDERS)?,
        Some(_) => Vec::new(),
    };
    let pages = database.query(sql::OPEN_PAGES, &[minutes.into(), after.into(), MAX_ORDERS.into()])?;
    let pages = pages.map(open_page).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut report = Report { asked: 0, paid: Vec::new(), ended: 0, problems: Vec::new(), next: None };
    report.problems.extend(refunds.into_iter().map(|(order_id, message)| Problem { order_id, message }));
    let (mut orders, mut last) = (0, None);
    for OpenPage { order_id, attempt, session_id, charges } in pages {
        if last.as_ref() != Some(&order_id) {
            if start.elapsed() > MAX_RUN_TIME {
                break;
            }
            orders += 1;
        }
        match known(database, &order_id, attempt, session_id, &mut report)? {
            Known::Page(session_id) => ask(database, &order_id, session_id, &charges, &mut report)?,
            Known::NotPending => paid_meanwhile(database, &order_id, &charges, &mut report)?,
            Known::Nothing => {}
        }
        last = Some(order_id);
    }
    // Fewer than could be were all that there are, unless time ran out.
    if orders == MAX_ORDERS || start.elapsed() > MAX_RUN_TIME {
        report.next = last;
    }
    Ok(report)
}

/// What is known of a page.
enum Known {
    /// The provider's id of it.
    Page(String),
    /// The order cannot be paid any more, so there is no need to know.
    NotPending,
    /// It is not known whether there is one; the report says why.
    Nothing,
}

/// The session of a page; one that was not stored is asked for again.
fn known(
    database: &Database,
    order_id: &str,
    attempt: u32,
    session_id: Option<String>,
    report: &mut Report,
) -> Result<Known, Error> {
    if let Some(session_id) = session_id {
        return Ok(Known::Page(session_id));
    }
    match page::reopened(database, order_id, attempt) {
        Ok(session_id) => Ok(session_id.map_or(Known::NotPending, Known::Page)),
        // One page that is answered in a way that cannot be read must not keep those after it from being looked at.
        Err(NoPage::Refused(message) | NoPage::Later(message)) => {
            report.problems.push(Problem { order_id: order_id.to_owned(), message });
            Ok(Known::Nothing)
        }
        Err(NoPage::Error(error)) => Err(error),
    }
}

/// One page: asks how far it has come, and stores what that means. `charges` are those that were known of the order.
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
            let message = format!("what the payment provider says of the page {session_id:?} is of no use: {text}");
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

/// A page on which somebody has paid. It is no news if the charge was known when this call began.
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
    // Nobody can pay on it again.
    session::end(database, &order.id, session_id)?;
    if !charges.contains(&charge) {
        eprintln!("order {}: charge {charge:?} was found by asking; no event had told of it before", order.id);
        report_paid(&order.id, report);
    }
    Ok(())
}

/// An order that stopped being pending while this call went on: reports it if it has a charge that was not known.
fn paid_meanwhile(database: &Database, order_id: &str, charges: &[String], report: &mut Report) -> Result<(), Error> {
    let known = database.query(sql::CHARGES, &[order_id.into()])?;
    let known = known.map(event::known_charge).collect::<Result<Vec<_>, _>>()?;
    if known.iter().any(|charge| !charges.contains(&charge.id)) {
        report_paid(order_id, report);
    }
    Ok(())
}

/// Once an order, though two of its pages may have been paid.
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
    /// The charges that were known of the order.
    charges: Vec<String>,
}

fn open_page(mut row: Row) -> Result<OpenPage, souk_database::Error> {
    let (order_id, attempt, session_id) = (row.text()?, row.integer()?, row.optional_text()?);
    let charges = serde_json::from_str(&row.text()?).map_err(|_| souk_database::Error::Internal)?;
    Ok(OpenPage { order_id, attempt, session_id, charges })
}
