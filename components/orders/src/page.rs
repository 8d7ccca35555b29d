//! The page on which an order is paid: the current one while it is open, otherwise a new one.
//!
//! An order must never have two pages that can be paid. So before a new attempt begins, the provider is asked about the
//! last one, whatever our clock and the events say: events may be late, and clocks differ, and a customer who has paid
//! must not get a new page. The statement that stores a page also reads whether the order may still be paid. A
//! cancellation stores its status first and then looks for pages to end. So of two such calls at once, at least one
//! sees what the other did.

use crate::bindings::checkout::{self, LineItem, Payment, SessionRequest, SessionState};
use crate::bindings::orders::{Checkout, Error, Money, Order, PaymentSession, Status, Unpayable};
use crate::bindings::payment_events::Charge;
use crate::session::{Attempt, Page, Saved};
use crate::{event, rows, session, sql, store};
use souk_database::Database;

/// The most attempts that one call considers: one that has ended, and the next one.
const MAX_ATTEMPTS: usize = 2;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum NoPage {
    /// The provider refuses the bill permanently; the text is for the end user.
    Refused(String),
    /// A page may be possible later; the text is for the end user.
    TryLater(String),
    /// The order cannot be paid, or the database does not answer.
    Error(Error),
}

impl NoPage {
    /// The contract's error for this order.
    pub(crate) fn into_error(self, order_id: String) -> Error {
        match self {
            NoPage::Refused(text) => Error::Invalid(text),
            NoPage::TryLater(message) => Error::PaymentUnavailable(Unpayable { order_id, message }),
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
                // The event of its end may still be on its way: send nobody to a page that has just ended.
                if !has_ended(database, &order, &page.id, open)? {
                    return Ok(Checkout { order, payment_session: page.links });
                }
                begin(database, &order.id, number.saturating_add(1))?;
                continue;
            }
            // As far as we know this page was never opened. A request for the same attempt cannot open a second one.
            Some(Attempt { number, page: None, .. }) => open_page(database, &order, number)?,
            None => {
                begin(database, &order.id, 1)?;
                open_page(database, &order, 1)?
            }
        };
        if open || !has_ended(database, &order, &page.id, open)? {
            return Ok(Checkout { order, payment_session: page.links });
        }
        begin(database, &order.id, number.saturating_add(1))?;
    }
    eprintln!(
        "order {}: its new payment page had ended as soon as it was opened; fix: check the clock of the database",
        order.id
    );
    Err(NoPage::TryLater("the payment page has ended already".into()))
}

/// The first page of an order; no other call has stored one.
pub(crate) fn first(database: &Database, order: Order) -> Result<Checkout, NoPage> {
    let (_, _, page) = open_page(database, &order, 1)?;
    Ok(Checkout { order, payment_session: page.links })
}

/// Refuses an order with another status than pending.
pub(crate) fn must_be_pending(status: Status) -> Result<(), Error> {
    if status == Status::Pending {
        return Ok(());
    }
    Err(Error::Conflict(format!("an order that is {} cannot be paid", rows::status_name(status))))
}

/// Ends the page of a cancelled order, if the provider can do it now. If it cannot, nothing is lost: a payment for a
/// cancelled order is kept and flagged for refund.
pub(crate) fn close(database: &Database, order_id: &str) {
    match session::last(database, order_id) {
        Ok(Some(Attempt { open: true, page: Some(page), .. })) => {
            end(database, order_id, &page.id);
        }
        Ok(_) => {}
        Err(_) => eprintln!(
            "order {order_id} is cancelled; its payment page could not be read from the database, so it may still be open"
        ),
    }
}

/// Ends, at the provider, a page of an order that cannot be paid any more; returns whether that succeeded.
pub(crate) fn end(database: &Database, order_id: &str, session_id: &str) -> bool {
    if let Err(error) = checkout::expire_session(session_id) {
        eprintln!(
            "order {order_id} cannot be paid any more; its payment page {session_id:?} could not be ended: {error:?}"
        );
        return false;
    }
    if session::end(database, order_id, session_id).is_err() {
        eprintln!("order {order_id}: its payment page {session_id:?} has ended, but that could not be stored");
    }
    true
}

/// Stores an attempt, unless another call has stored it.
fn begin(database: &Database, order_id: &str, number: u32) -> Result<(), Error> {
    if session::begin(database, order_id, number)? {
        return Ok(());
    }
    // Either another call has begun the attempt, or the order cannot be paid any more.
    must_be_pending(store::find(database, order_id, None)?.status)
}

/// Opens the page of attempt `number` and returns the number, whether the page is open by the database's clock, and the
/// page. A page that could not be stored does no harm to the customer: the same attempt gives the same page again.
fn open_page(database: &Database, order: &Order, number: u32) -> Result<(u32, bool, Page), NoPage> {
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
        checkout::Error::Unavailable(text) | checkout::Error::Internal(text) => NoPage::TryLater(text),
    })?;
    let stored = session::save(database, &order.id, number, &session);
    let page = Page {
        id: session.id,
        links: PaymentSession { url: session.url, success_url: session.success_url, cancel_url: session.cancel_url },
    };
    let (open, status) = match stored {
        Ok(Some(Saved { open, status })) => (open, status),
        // Another call has stored the page.
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

/// The id of a page of which nobody knows whether it was opened: a request for the same attempt cannot open a second
/// one. `None` when the order cannot be paid any more.
pub(crate) fn reopen(database: &Database, order_id: &str, number: u32) -> Result<Option<String>, NoPage> {
    let order = store::get(database, order_id, None)?;
    if must_be_pending(order.status).is_err() {
        return Ok(None);
    }
    match open_page(database, &order, number) {
        Ok((_, _, page)) => Ok(Some(page.id)),
        Err(NoPage::Error(Error::Conflict(_))) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Whether a page has ended, according to the provider; if the provider cannot say, a page that `seems_open` is taken
/// as open. A page on which the order was paid is an error: the payment is stored, and there is nothing left to pay.
fn has_ended(database: &Database, order: &Order, session_id: &str, seems_open: bool) -> Result<bool, NoPage> {
    match checkout::get_session(session_id) {
        Err(_) if seems_open => Ok(false),
        Ok(SessionState::Open) => Ok(false),
        Ok(SessionState::Paid(payment)) => Err(paid(database, order, payment).into()),
        Ok(SessionState::Expired) => Ok(true),
        Err(checkout::Error::Invalid(_)) => {
            // This happens after a change from the sandbox to Stripe. Nobody can pay on the old page.
            eprintln!(
                "order {}: the payment provider does not know its page {session_id:?}; the order gets another",
                order.id
            );
            Ok(true)
        }
        Err(checkout::Error::Unavailable(text) | checkout::Error::Internal(text)) => Err(NoPage::TryLater(text)),
    }
}

/// Stores a payment that the provider reported when asked, and returns why the order cannot be paid.
pub(crate) fn paid(database: &Database, order: &Order, payment: Payment) -> Error {
    let being_checked = || Error::Conflict("a payment of this order is being checked".into());
    match note(database, order, payment) {
        // The log says why the payment was refused. Because there is a payment, the order gets no other page.
        Ok(Err(_)) => being_checked(),
        Ok(Ok(())) => match store::find(database, &order.id, None).and_then(|order| must_be_pending(order.status)) {
            Ok(()) => being_checked(),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

/// Stores a payment that the provider reported when asked, as its event would do, which may be late or lost. The same
/// report counts once, and one with a larger refund is another, as is one with the same refund after an earlier one has
/// failed. The inner error says why the payment does not fit the order.
pub(crate) fn note(database: &Database, order: &Order, payment: Payment) -> Result<Result<(), String>, Error> {
    let failed: u64 = match payment.refunded {
        0 => 0,
        _ => match database.query(sql::money::FAILED_REFUNDS, &[order.id.as_str().into()])?.next() {
            Some(mut row) => row.integer()?,
            None => 0,
        },
    };
    let event_id = match failed {
        0 => format!("checkout:{}:{}", payment.charge_id, payment.refunded),
        failed => format!("checkout:{}:{}:{failed}", payment.charge_id, payment.refunded),
    };
    let event = Charge {
        event_id,
        charge_id: payment.charge_id,
        order_id: order.id.clone(),
        amount: Money { cents: payment.amount, currency: payment.currency },
        refunded_cents: payment.refunded,
        receipt_url: payment.receipt_url,
        // The time of the payment is not known here. The earliest of several times is kept, so the event corrects it.
        at: session::now(database)?,
    };
    event::told(event::charge(database, &event))
}
