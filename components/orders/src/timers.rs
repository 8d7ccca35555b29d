//! Timers, called by the schedules in `spin.toml`: unpaid orders expire, the payment provider is asked about payments
//! whose events are missing, and expired rows are removed.
//!
//! Each call does as much as its time allows, and the next one continues: only finished work is recorded. So a call
//! that comes twice, or at the same time as another, does no harm. If there is more work than one call can do, it
//! begins at random orders, so that orders with permanent problems never keep the others from being handled.

use crate::bindings::checkout::{self, SessionState};
use crate::bindings::orders::{Actor, Error, Status};
use crate::bindings::timers::DeliveryError;
use crate::page::{self, NoPage};
use crate::session::{self, Attempt};
use crate::{reconcile, sql, status, store};
use souk_database::{Database, Statement, ago, most, statement};
use std::time::{Duration, Instant};

/// How long an order may wait for its payment, in hours; empty for no limit.
const VARIABLE: &str = "unpaid_order_hours";
/// The most hours.
const MAX_HOURS: u32 = 10_000;
/// How many orders one call expires at most.
const MAX_ORDERS: u32 = 100;
/// After this time a call begins no further work.
const MAX_RUN_TIME: Duration = Duration::from_secs(10);
/// Younger orders are left to their events.
const RECONCILED_AFTER_MINUTES: u32 = 60;

/// Parameters: hours, limit.
const UNPAID: Statement = statement!(
    "SELECT id FROM orders WHERE status = 'PENDING' AND created_at <= ",
    (Statement::each(
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' hours')",
        "statement_timestamp() - ?1::bigint * interval '1 hour'"
    )),
    " ORDER BY random() LIMIT ",
    (most!("?2"))
);
/// No parameters. Whether there are expired keys.
const OLD_KEYS: Statement =
    statement!("SELECT 1 FROM idempotency_keys WHERE created_at <= ", (ago!("24 hours")), " LIMIT 1");
/// No parameters. Whether there are expired ids of events.
const OLD_EVENTS: Statement = statement!("SELECT 1 FROM events WHERE seen_at <= ", (ago!("90 days")), " LIMIT 1");

impl From<Error> for DeliveryError {
    /// Another call helps, once the missing service is back or the error is fixed.
    fn from(error: Error) -> DeliveryError {
        DeliveryError::Retry(match error {
            Error::Unavailable(text) | Error::Internal(text) | Error::Invalid(text) | Error::Conflict(text) => text,
            other => format!("{other:?}"),
        })
    }
}

impl From<souk_database::Error> for DeliveryError {
    fn from(error: souk_database::Error) -> DeliveryError {
        Error::from(error).into()
    }
}

/// See `expire-unpaid` in the contract.
pub(crate) fn expire_unpaid() -> Result<(), DeliveryError> {
    let Some(hours) = unpaid_order_hours()? else { return Ok(()) };
    let database = Database::open()?;
    let ids = database.query(UNPAID, &[hours.into(), MAX_ORDERS.into()])?;
    let ids = ids.map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?;
    let (start, mut expired) = (Instant::now(), 0);
    for id in ids {
        if start.elapsed() > MAX_RUN_TIME {
            break;
        }
        if !end_page(&database, &id)? {
            continue;
        }
        match status::change(&database, &Actor::Anyone, &id, Status::Cancelled) {
            Ok(_) => {
                // Ends a page that was opened since.
                page::close(&database, &id);
                eprintln!("order {id} is cancelled: it was not paid within {hours} hours");
                expired += 1;
            }
            // It was paid or cancelled meanwhile.
            Err(Error::Conflict(_) | Error::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if expired > 0 {
        eprintln!("{expired} orders have expired");
    }
    Ok(())
}

/// Ends the page of a pending order; false when that failed, or somebody has paid on it.
fn end_page(database: &Database, id: &str) -> Result<bool, Error> {
    let session_id = match session::last(database, id)? {
        None => return Ok(true),
        Some(Attempt { page: Some(page), .. }) => page.id,
        // Nobody knows whether it was opened. A request for the same attempt returns the same page.
        Some(Attempt { number, page: None, .. }) => match page::reopen(database, id, number) {
            Ok(Some(session_id)) => session_id,
            Ok(None) | Err(NoPage::TryLater(_)) => return Ok(false),
            Err(NoPage::Refused(_)) => return Ok(true),
            Err(NoPage::Error(error)) => return Err(error),
        },
    };
    match checkout::get_session(&session_id) {
        Ok(SessionState::Open) => Ok(page::end(database, id, &session_id)),
        Ok(SessionState::Expired) => {
            session::end(database, id, &session_id)?;
            Ok(true)
        }
        Ok(SessionState::Paid(payment)) => {
            let order = store::find(database, id, None)?;
            // If the payment does not fit the order, the log says so.
            page::note(database, &order, payment)?.ok();
            Ok(false)
        }
        // This happens after a change from the sandbox to Stripe. Nobody can pay on the old page.
        Err(checkout::Error::Invalid(_)) => Ok(true),
        Err(checkout::Error::Unavailable(text)) => Err(Error::Unavailable(text)),
        Err(checkout::Error::Internal(text)) => {
            eprintln!("order {id}: the payment provider's answer about its page {session_id:?} is unusable: {text}");
            Ok(false)
        }
    }
}

/// See `reconcile` in the contract.
pub(crate) fn reconcile() -> Result<(), DeliveryError> {
    let database = Database::open()?;
    let mut report = reconcile::reconcile(&database, RECONCILED_AFTER_MINUTES, None)?;
    if report.next.is_some() {
        // Each run asks about the oldest orders, and about as many others from a random place.
        let any = database.query(sql::ANY_OPEN, &[])?.next().map(|mut row| row.text()).transpose()?;
        let more = reconcile::reconcile(&database, RECONCILED_AFTER_MINUTES, any.as_deref())?;
        report.asked = report.asked.saturating_add(more.asked);
        report.ended = report.ended.saturating_add(more.ended);
        report.paid.extend(more.paid);
        report.problems.extend(more.problems);
    }
    for problem in &report.problems {
        eprintln!("RECONCILIATION of order {}, someone must look at it: {}", problem.order_id, problem.message);
    }
    if report.asked > 0 {
        println!(
            "reconciled: {} pages asked about, {} orders paid that no event had reported, {} pages ended, {} problems",
            report.asked,
            report.paid.len(),
            report.ended,
            report.problems.len()
        );
    }
    Ok(())
}

/// See `clean-up` in the contract.
pub(crate) fn clean_up() -> Result<(), DeliveryError> {
    Ok(clean(&Database::open()?)?)
}

/// Removes expired rows, until the time is over.
pub(crate) fn clean(database: &Database) -> Result<(), souk_database::Error> {
    let start = Instant::now();
    for (old, purge) in [(OLD_KEYS, sql::PURGE_KEYS), (OLD_EVENTS, sql::PURGE_EVENTS)] {
        while start.elapsed() < MAX_RUN_TIME && database.query(old, &[])?.next().is_some() {
            database.query(purge, &[])?;
        }
    }
    Ok(())
}

/// How many hours an order may wait; `None` for no limit.
fn unpaid_order_hours() -> Result<Option<u32>, Error> {
    let unusable = |detail: String| {
        eprintln!("variable `{VARIABLE}`: {detail}");
        Error::Internal(format!("the variable `{VARIABLE}` has an unusable value"))
    };
    let text = souk_variables::get(VARIABLE).map_err(|error| unusable(error.to_string()))?;
    hours(&text).ok_or_else(|| unusable(format!("{text:?} is neither empty nor a whole number from 1 to {MAX_HOURS}")))
}

fn hours(text: &str) -> Option<Option<u32>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|hours| digits && (1..=MAX_HOURS).contains(hours)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{both, create, draft, key, number};

    #[test]
    fn the_limit_is_empty_or_whole_hours() {
        for (good, wanted) in [("", None), ("1", Some(1)), ("72", Some(72)), ("10000", Some(10_000))] {
            assert_eq!(hours(good), Some(wanted));
        }
        for bad in ["0", "-1", "+1", "1.5", " 1", "10001", "never"] {
            assert_eq!(hours(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_expired_keys_and_events_are_removed() {
        for database in both() {
            let make = |text: &str| {
                create(&database, None, "usd", draft(100), Some(&key(None, text, 1))).unwrap().unwrap();
            };
            for number in 0..25 {
                make(&format!("old-{number}"));
            }
            let run = |sql: &str| database.query(sql, &[]).map(drop).unwrap();
            run("UPDATE idempotency_keys SET created_at = '2020-01-01T00:00:00.000Z'");
            run("INSERT INTO events (id, seen_at) VALUES ('old', '2020-01-01T00:00:00.000Z')");
            run("INSERT INTO events (id) VALUES ('new')");
            clean(&database).unwrap();
            assert_eq!(number(&database, "SELECT count(*) FROM idempotency_keys"), 0);
            assert_eq!(number(&database, "SELECT count(*) FROM events WHERE id = 'new'"), 1);
            assert_eq!(number(&database, "SELECT count(*) FROM events"), 1);
            make("young");
            clean(&database).unwrap();
            assert_eq!(number(&database, "SELECT count(*) FROM idempotency_keys"), 1);
        }
    }

    #[test]
    fn unpaid_orders_that_are_old_enough_are_found() {
        for database in both() {
            create(&database, None, "usd", draft(100), None).unwrap().unwrap();
            let old = create(&database, None, "usd", draft(100), None).unwrap().unwrap();
            let age = format!("UPDATE orders SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = '{}'", old.id);
            database.query(age.as_str(), &[]).map(drop).unwrap();
            let found = database.query(UNPAID, &[1_u32.into(), MAX_ORDERS.into()]).unwrap();
            let found: Vec<String> = found.map(|mut row| row.text().unwrap()).collect();
            assert_eq!(found, [old.id]);
        }
    }
}
