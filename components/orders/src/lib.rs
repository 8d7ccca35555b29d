//! Orders. The component exports `store:orders/orders` for customers and administrators, `store:orders/refunds` and
//! `store:orders/history` for administrators, `store:orders/payment-events` for events of the payment provider,
//! `store:orders/administration` for an operator, and `store:orders/timers` for schedules. It calls the catalogue for
//! prices, and payments for payment pages.
//!
//! # Concurrency
//!
//! Many instances of this component run at once and share only the database, so the database decides every conflict
//! between two of them. An idempotency key is a unique row, so is an event in the inbox, and a statement that changes a
//! status names the status that the order must have. [`sql`] explains why this is right on either database. The effect
//! of payments on an order is derived from all of its charges each time ([`payment_state`]), so the sequence of events
//! does not matter.
//!
//! A transaction never waits for another component: data from other components is fetched before it, and sent after it.
//!
//! # What it refuses
//!
//! This component never takes a price from a caller, never marks an order as paid by hand, and never loses a payment. A
//! payment that fits no order is rejected, for an operator to look at. A late or second payment is kept and flagged for
//! refund. The component trusts its caller to name the right actor.

mod bindings;
mod by;
mod checkout;
mod currency;
mod dispute;
mod draft;
mod error;
mod event;
mod history;
mod import;
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
use bindings::history as history_contract;
use bindings::orders::{self, Actor, Checkout, Error, Found, NewOrder, Order, OrderId, Page, Query, Search, Status};
use bindings::payment_events::{self, Charge, DeliveryError, DisputeChange, ExpiredSession, RefundChange};
use bindings::refunds::{self, NewRefund, Refund};
use bindings::timers as timers_contract;
use by::By;
use souk_database::Database;

/// The component: it has no state of its own.
struct Component;

impl orders::Guest for Component {
    fn create(actor: Actor, order: NewOrder) -> Result<Checkout, Error> {
        by::during(By::from(&actor), || checkout::create(actor, order))
    }

    fn pay(actor: Actor, id: OrderId) -> Result<Checkout, Error> {
        by::during(By::from(&actor), || checkout::pay(actor, id))
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
        let order = by::during(By::from(&actor), || status::change(&database, &actor, &id, status))?;
        if order.status == Status::Cancelled {
            page::close(&database, &id);
        }
        Ok(order)
    }
}

impl refunds::Guest for Component {
    fn give_back(actor: Actor, id: OrderId, refund: NewRefund) -> Result<Vec<Refund>, Error> {
        let database = Database::open()?;
        by::during(By::from(&actor), || refund::give_back(&database, &actor, &id, &refund))
    }

    fn list(actor: Actor, id: OrderId) -> Result<Vec<Refund>, Error> {
        refund::list(&Database::open()?, &actor, &id)
    }
}

impl history_contract::Guest for Component {
    fn list(actor: Actor, id: OrderId) -> Result<Vec<history_contract::Change>, Error> {
        history::list(&Database::open()?, &actor, &id)
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
        let database = Database::open()?;
        by::during(By::Operator, || reconcile::reconcile(&database, older_than_minutes, after.as_deref()))
    }
}

impl timers_contract::Guest for Component {
    fn expire_unpaid() -> Result<(), timers_contract::DeliveryError> {
        by::during(By::Schedule, timers::expire_unpaid)
    }

    fn reconcile() -> Result<(), timers_contract::DeliveryError> {
        by::during(By::Schedule, timers::reconcile)
    }

    fn clean_up() -> Result<(), timers_contract::DeliveryError> {
        by::during(By::Schedule, timers::clean_up)
    }
}

#[cfg(test)]
mod tests;
