//! Orders: exports `store:orders/orders` for those who buy and sell, `store:orders/refunds` for those who give money
//! back, `store:orders/payment-events` for what the payment
//! provider says, `store:orders/administration` for an operator, and `store:orders/timers` for schedules. It asks the catalogue for prices and the payments
//! for pages to pay on.
//!
//! # Who decides
//!
//! Many instances of this component run at once and share nothing but the database, so whatever two of them may do at
//! the same time is decided there: an idempotency key is a unique row, an event in the inbox is one, and a change of
//! status names in its statement the status that the order must have. [`sql`] says why that is right on either database.
//! What payments make of an order is derived from all its charges each time ([`payment_state`]), so the order of events
//! does not matter.
//!
//! A transaction never waits for another component: what comes from outside is fetched before it or sent after it.
//!
//! # What it refuses
//!
//! To take a caller's word for a price, to pay an order by hand, and to lose a payment: one that fits no order is
//! rejected for an operator to look at, one that comes too late or twice is kept and flagged for refund. Who the actor
//! is, it takes from its caller.

mod bindings;
mod checkout;
mod currency;
mod dispute;
mod draft;
mod error;
mod event;
mod key;
mod page;
mod payment_state;
mod quota;
mod reconcile;
mod refund;
mod rows;
mod search;
mod session;
mod sql;
mod status;
mod store;
mod time;
mod timers;

use bindings::administration::{self, Report};
use bindings::orders::{self, Actor, Checkout, Error, Found, NewOrder, Order, OrderId, Page, Query, Search, Status};
use bindings::payment_events::{self, Charge, DeliveryError, DisputeChange, ExpiredSession, RefundChange};
use bindings::refunds::{self, NewRefund, Refund};
use bindings::timers as timers_contract;
use souk_database::Database;

/// The component: it has no state of its own.
struct Component;

impl orders::Guest for Component {
    fn create(actor: Actor, order: NewOrder) -> Result<Checkout, Error> {
        checkout::create(actor, order)
    }

    fn pay(actor: Actor, id: OrderId) -> Result<Checkout, Error> {
        checkout::pay(actor, id)
    }

    fn list(actor: Actor, query: Query) -> Result<Page, Error> {
        store::list(&Database::open()?, &query, actor.sees())
    }

    fn find(actor: Actor, search: Search) -> Result<Found, Error> {
        search::search(&Database::open()?, &search, actor.sees())
    }

    fn get(actor: Actor, id: OrderId) -> Result<Order, Error> {
        store::get(&Database::open()?, &id, actor.sees())
    }

    fn change_status(actor: Actor, id: OrderId, status: Status) -> Result<Order, Error> {
        let database = Database::open()?;
        let order = status::change(&database, &actor, &id, status)?;
        if order.status == Status::Cancelled {
            page::close(&database, &id);
        }
        Ok(order)
    }
}

impl refunds::Guest for Component {
    fn give_back(actor: Actor, id: OrderId, refund: NewRefund) -> Result<Vec<Refund>, Error> {
        refund::give_back(&Database::open()?, &actor, &id, &refund)
    }

    fn list(actor: Actor, id: OrderId) -> Result<Vec<Refund>, Error> {
        refund::list(&Database::open()?, &actor, &id)
    }
}

impl payment_events::Guest for Component {
    fn payment_succeeded(charge: Charge) -> Result<(), DeliveryError> {
        event::charge(&Database::open()?, &charge)
    }

    fn payment_refunded(charge: Charge) -> Result<(), DeliveryError> {
        event::charge(&Database::open()?, &charge)
    }

    fn session_expired(session: ExpiredSession) -> Result<(), DeliveryError> {
        event::session_expired(&Database::open()?, &session)
    }

    fn refund_changed(change: RefundChange) -> Result<(), DeliveryError> {
        refund::changed(&Database::open()?, &change)
    }

    fn dispute_changed(change: DisputeChange) -> Result<(), DeliveryError> {
        dispute::changed(&Database::open()?, &change)
    }
}

impl administration::Guest for Component {
    fn reconcile(older_than_minutes: u32, after: Option<OrderId>) -> Result<Report, Error> {
        reconcile::reconcile(&Database::open()?, older_than_minutes, after.as_deref())
    }
}

impl timers_contract::Guest for Component {
    fn expire_unpaid() -> Result<(), timers_contract::DeliveryError> {
        timers::expire_unpaid()
    }

    fn reconcile() -> Result<(), timers_contract::DeliveryError> {
        timers::reconcile()
    }

    fn clean_up() -> Result<(), timers_contract::DeliveryError> {
        timers::clean_up()
    }
}

#[cfg(test)]
mod tests;
