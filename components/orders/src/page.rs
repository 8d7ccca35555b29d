//! The page on which an order is paid: the one that it has while that is open, else another.
//!
//! No order should have two pages that can be paid. So before a next attempt begins, the provider is asked what became
//! of the last one, whatever our clock and the events say: a payment whose event is late must not meet a new page, and
//! clocks differ. Whether an order may still be paid is read again with storing its page; a cancel stores its status
//! first and then looks for pages to end. Of two at the same time, one sees what the other did.

use crate::bindings::checkout::{self, LineItem, Payment, SessionRequest, SessionState};
use crate::bindings::orders::{Checkout, Error, Money, Order, PaymentSession, Status, Unpayable};
use crate::bindings::payment_events::{Charge, DeliveryError};
use crate::session::{Attempt, Page, Saved};
use crate::{event, rows, session, store};
use souk_database::Database;

/// The most attempts that one call considers: one that has ended, and the next.
const MAX_ATTEMPTS: usize = 2;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum NoPage {
    /// The provider does not take the bill and never will, as the text says to the end user.
    Refused(String),
    /// There may be one later; the text is for the end user.
    Later(String),
    /// The order cannot be paid, or the database does not answer.
    Error(Error),
}

impl NoPage {
    /// The contract's error for this order.
    pub(crate) fn of(self, order_id: String) -> Error {
        match self {
            NoPage::Refused(text) => Error::Invalid(text),
            NoPage::Later(message) => Error::PaymentUnavailable(Unpayable { order_id, message }),
            NoPage::Error(error) => error,
        }
    }
}

impl From<Error> for NoPage {
    fn from(error: Error) -> NoPage {
        NoPage::Error(error)
    }
}

impl From<souk_database::Error> for NoPage {
    fn from(error: souk_database::Error) -> NoPage {
        NoPage::Error(error.into())
    }
}

/// The page on which a pending order can be paid now.
pub(crate) fn current(database: &Database, order: Order) -> Result<Checkout, NoPage> {
    for _ in 0..MAX_ATTEMPTS {
        let (number, open, page) = match session::last(database, &order.id)? {
            Some(Attempt { number, open, page: Some(page) }) => {
                // Its event may be under way: nobody is sent to a page that has just ended.
                if !has_ended(database, &order, &page.id, open)? {
                    return Ok(Checkout { order, payment_session: page.links });
                }
                begin(database, &order.id, number.saturating_add(1))?;
                continue;
            }
            // Never opened, as far as is known: asked for again as the same attempt, it cannot become two.
            Some(Attempt { number, page: None, .. }) => opened(database, &order, number)?,
            None => {
                begin(database, &order.id, 1)?;
                opened(database, &order, 1)?
            }
        };
        if open || !has_ended(database, &order, &page.id, open)? {
            return Ok(Checkout { order, payment_session: page.links });
        }
        begin(database, &order.id, number.saturating_add(1))?;
    }
    eprintln!("order {}: its new payment page has ended as soon as it was opened; is this clock right?", order.id);
    Err(NoPage::Later("the payment page has ended already".into()))
}

/// The first page of an order, which no other call has stored.
pub(crate) fn first(database: &Database, order: Order) -> Result<Checkout, NoPage> {
    let (_, _, page) = opened(database, &order, 1)?;
    Ok(Checkout { order, payment_session: page.links })
}

/// Refuses an order with another status than pending.
pub(crate) fn must_be_pending(status: Status) -> Result<(), Error> {
    if status == Status::Pending {
        return Ok(());
    }
    Err(Error::Conflict(format!("an order that is {} cannot be paid", rows::status_name(status))))
}

/// Ends the page of an order that was cancelled, as far as the provider does it now. Where it does not, nothing is
/// lost: what is paid for a cancelled order is kept and flagged for refund.
pub(crate) fn close(database: &Database, order_id: &str) {
    match session::last(database, order_id) {
        Ok(Some(Attempt { open: true, page: Some(page), .. })) => {
            end(database, order_id, &page.id);
        }
        Ok(_) => {}
        Err(_) => eprintln!("order {order_id} is cancelled; its payment page could not be looked for"),
    }
}

/// Ends a page of an order that cannot be paid any more at the provider; whether it did.
pub(crate) fn end(database: &Database, order_id: &str, session_id: &str) -> bool {
    if let Err(error) = checkout::expire_session(session_id) {
        eprintln!(
            "order {order_id} cannot be paid any more; its payment page {session_id:?} could not be ended: {error:?}"
        );
        return false;
    }
    if session::end(database, order_id, session_id).is_err() {
        eprintln!("order {order_id}: its payment page {session_id:?} has ended, which could not be stored");
    }
    true
}

/// Stores an attempt, unless another call has.
fn begin(database: &Database, order_id: &str, number: u32) -> Result<(), Error> {
    if session::begin(database, order_id, number)? {
        return Ok(());
    }
    // Another call has begun it, or the order may not be paid any more.
    must_be_pending(store::find(database, order_id, None)?.status)
}

/// Opens the page of attempt `number`: the number, whether the page is open by our clock, and the page. That it could
/// not be stored does not matter to the customer: the same attempt gives the same page again.
fn opened(database: &Database, order: &Order, number: u32) -> Result<(u32, bool, Page), NoPage> {
    let bill = SessionRequest {
        order_id: order.id.clone(),
        attempt: number,
        currency: order.total.currency.clone(),
        items: order
            .items
            .iter()
            .map(|item| LineItem { name: item.name.clone(), unit_price: item.unit_cents, quantity: item.quantity })
            .collect(),
    };
    let session = checkout::create_session(&bill).map_err(|error| match error {
        checkout::Error::Invalid(text) => NoPage::Refused(text),
        checkout::Error::Unavailable(text) | checkout::Error::Internal(text) => NoPage::Later(text),
    })?;
    let stored = session::save(database, &order.id, number, &session);
    let page = Page {
        id: session.id,
        links: PaymentSession { url: session.url, success_url: session.success_url, cancel_url: session.cancel_url },
    };
    let (open, status) = match stored {
        Ok(Some(Saved { open, status })) => (open, status),
        // Another call has stored it.
        Ok(None) => (session::is_open(database, &order.id, number)?, store::find(database, &order.id, None)?.status),
        Err(_) => {
            eprintln!("order {}: its payment page {number} is open but could not be stored", order.id);
            return Ok((number, true, page));
        }
    };
    if let Err(error) = must_be_pending(status) {
        end(database, &order.id, &page.id);
        return Err(error.into());
    }
    Ok((number, open, page))
}

/// The id of a page of which nobody knows whether it was opened: asked for as the same attempt again, it cannot become
/// two. `None` when the order cannot be paid any more.
pub(crate) fn reopened(database: &Database, order_id: &str, number: u32) -> Result<Option<String>, NoPage> {
    let order = store::get(database, order_id, None)?;
    if must_be_pending(order.status).is_err() {
        return Ok(None);
    }
    match opened(database, &order, number) {
        Ok((_, _, page)) => Ok(Some(page.id)),
        Err(NoPage::Error(Error::Conflict(_))) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Whether a page has ended, as the provider knows it; where it cannot say, a page that `seems_open` has not. One on which
/// the order was paid is an error: the payment is stored, and there is nothing to pay.
fn has_ended(database: &Database, order: &Order, session_id: &str, seems_open: bool) -> Result<bool, NoPage> {
    match checkout::get_session(session_id) {
        Err(_) if seems_open => Ok(false),
        Ok(SessionState::Open) => Ok(false),
        Ok(SessionState::Paid(payment)) => Err(paid(database, order, payment).into()),
        Ok(SessionState::Expired) => Ok(true),
        Err(checkout::Error::Invalid(_)) => {
            // As after a change from the sandbox to Stripe: nobody can pay there.
            eprintln!("order {}: the payment provider knows no page {session_id:?}; it gets another", order.id);
            Ok(true)
        }
        Err(checkout::Error::Unavailable(text) | checkout::Error::Internal(text)) => Err(NoPage::Later(text)),
    }
}

/// Stores a payment that the provider told of when it was asked, and says why the order cannot be paid.
pub(crate) fn paid(database: &Database, order: &Order, payment: Payment) -> Error {
    let looked_at = || Error::Conflict("a payment of this order is being looked at".into());
    match note(database, order, payment) {
        // The log says why it was refused. There is a payment, so there is no other page.
        Ok(Err(_)) => looked_at(),
        Ok(Ok(())) => match store::find(database, &order.id, None).and_then(|order| must_be_pending(order.status)) {
            Ok(()) => looked_at(),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

/// Stores a payment that the provider told of when it was asked, as its event will, which may be late or lost. The inner
/// error says why it does not fit the order.
pub(crate) fn note(database: &Database, order: &Order, payment: Payment) -> Result<Result<(), String>, Error> {
    let event = Charge {
        event_id: format!("checkout:{}", payment.charge_id),
        charge_id: payment.charge_id,
        order_id: order.id.clone(),
        amount: Money { cents: payment.amount, currency: payment.currency },
        refunded_cents: payment.refunded,
        receipt_url: payment.receipt_url,
        // When it was paid is not known here; of several times the earliest stays, so the event sets it right.
        at: session::now(database)?,
    };
    match event::charge(database, &event) {
        Ok(()) => Ok(Ok(())),
        Err(DeliveryError::Retry(text)) => Err(Error::Unavailable(text)),
        Err(DeliveryError::Reject(reason)) => Ok(Err(reason)),
    }
}
