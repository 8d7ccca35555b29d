//! What the payment provider knows and its events have not told: asked for by an operator, after an outage or by a timer.
//!
//! Events are sent for days, kept by the application until they are applied, and a customer who comes back is answered
//! by what the provider knows. So this is the last net: for events that were sent while the webhook's address or secret
//! was wrong, and for pages that outlived a cancelled order.
//!
//! A page that could not be stored, because the process died or the database did, is asked for again, and stored.
//!
//! Orders are looked at in the order in which they were made. Pages that have ended are noted, so what is left to ask
//! about is what the provider keeps open, a day's orders, and the problems: those are asked about each time, because what
//! is wrong may be our key, and a page must not be given up for that.

use crate::bindings::administration::{Problem, Report};
use crate::bindings::checkout::{self, SessionState};
use crate::bindings::orders::{Error, Order, Status};
use crate::page::{self, NoPage};
use crate::{session, sql, store};
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
pub async fn reconcile(database: &Database, minutes: u32, after: Option<&str>) -> Result<Report, Error> {
    let pages = database.query(sql::OPEN_PAGES, &[minutes.into(), after.into(), MAX_ORDERS.into()])?;
    let pages = pages.map(open_page).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut report = Report { asked: 0, paid: Vec::new(), ended: 0, problems: Vec::new(), next: None };
    let (mut orders, mut last) = (0, None);
    for OpenPage { order_id, attempt, session_id } in pages {
        if last.as_ref() != Some(&order_id) {
            if start.elapsed() > MAX_RUN_TIME {
                break;
            }
            orders += 1;
        }
        if let Some(session_id) = known(database, &order_id, attempt, session_id, &mut report).await? {
            ask(database, &order_id, session_id, &mut report).await?;
        }
        last = Some(order_id);
    }
    // Fewer than could be were all that there are, unless time ran out.
    if orders == MAX_ORDERS || start.elapsed() > MAX_RUN_TIME {
        report.next = last;
    }
    Ok(report)
}

/// The session of a page; one that was not stored is asked for again.
async fn known(
    database: &Database,
    order_id: &str,
    attempt: u32,
    session_id: Option<String>,
    report: &mut Report,
) -> Result<Option<String>, Error> {
    if session_id.is_some() {
        return Ok(session_id);
    }
    match page::reopened(database, order_id, attempt).await {
        Ok(session_id) => Ok(session_id),
        // One page that is answered in a way that cannot be read must not keep those after it from being looked at.
        Err(NoPage::Refused(message) | NoPage::Later(message)) => {
            report.problems.push(Problem { order_id: order_id.to_owned(), message });
            Ok(None)
        }
        Err(NoPage::Error(error)) => Err(error),
    }
}

/// One page: asks how far it has come, and stores what that means.
async fn ask(database: &Database, order_id: &str, session_id: String, report: &mut Report) -> Result<(), Error> {
    report.asked += 1;
    let state = match checkout::get_session(session_id.clone()).await {
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
            let ended = page::end(database, order_id, &session_id).await;
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
        SessionState::Paid(payment) => paid(database, order, payment, &session_id, report)?,
    }
    Ok(())
}

/// A page on which somebody has paid. Its event may have come meanwhile, which is no news.
fn paid(
    database: &Database,
    before: Order,
    payment: checkout::Payment,
    session_id: &str,
    report: &mut Report,
) -> Result<(), Error> {
    let charge = payment.charge_id.clone();
    if let Err(message) = page::note(database, &before, payment)? {
        report.problems.push(Problem { order_id: before.id, message });
        return Ok(());
    }
    // Nobody can pay on it again.
    session::end(database, &before.id, session_id)?;
    if before.charge_id.as_ref() != Some(&charge) {
        eprintln!("order {}: charge {charge:?} was found by asking; no event has told of it", before.id);
        report.paid.push(before.id);
    }
    Ok(())
}

/// A page that may be open.
struct OpenPage {
    order_id: String,
    attempt: u32,
    /// Absent when nobody knows whether the page was opened.
    session_id: Option<String>,
}

fn open_page(mut row: Row) -> Result<OpenPage, souk_database::Error> {
    Ok(OpenPage { order_id: row.text()?, attempt: row.integer()?, session_id: row.optional_text()? })
}
