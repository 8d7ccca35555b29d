//! Creates an order and opens its payment page. These are two steps, because the payment provider is no part of our
//! transactions: the order is stored first, then its page is opened. If the second step fails, or the process dies in
//! between, the order waits: the same call with its idempotency key, or `pay`, opens its page.

use crate::bindings::catalog;
use crate::bindings::orders::{Actor, Checkout, Error, NewOrder, Order, OrderId};
use crate::key::{Key, Used};
use crate::page::{self, NoPage};
use crate::store::Created;
use crate::{by, currency, draft, quota, session, sql, store};
use souk_database::Database;
use std::collections::BTreeSet;

/// The most products that are looked up one by one, to name the unknown ones.
const MAX_LOOKUPS: usize = 50;

/// Creates an order and opens its page.
pub(crate) fn create(actor: Actor, new: NewOrder) -> Result<Checkout, Error> {
    draft::check(&new.items)?;
    let owner = actor.owner();
    if owner == Some("") {
        return Err(Error::Invalid("a user's id cannot be empty".into()));
    }
    let key = new.idempotency_key.map(|key| Key::new(owner, key, &new.items)).transpose()?;
    let database = Database::open()?;
    if let Some(key) = &key
        && let Some(used) = key.find(&database)?
    {
        return repeat_answer(&database, key, used);
    }
    let currency = currency::of_prices()?;
    let ids: BTreeSet<u64> = new.items.iter().map(|item| item.product_id).collect();
    let products = catalog::validate(&ids.iter().copied().collect::<Vec<_>>()).map_err(|e| no_products(e, &ids))?;
    let draft = draft::price(&new.items, &products, currency::max_total(&currency))?;
    // Orders without an owner have no limit.
    let max_open = if owner.is_some() { quota::max_open_orders()? } else { u32::MAX };
    match store::create(&database, owner, &currency, draft, key.as_ref(), max_open)? {
        Created::Made(order) => open_first_page(&database, *order, key.as_ref()),
        Created::TooManyOpen => Err(quota::exceeded(max_open)),
        Created::KeyTaken => {
            // Another call with the key was first; the same answer serves both.
            let used = key.as_ref().map(|key| key.find(&database)).transpose()?.flatten();
            match (&key, used) {
                (Some(key), Some(used)) => repeat_answer(&database, key, used),
                _ => Err(Error::Unavailable("the idempotency key is in use".into())),
            }
        }
    }
}

/// The page of a pending order: the last one while it is open, otherwise a new one.
pub(crate) fn pay(actor: Actor, id: OrderId) -> Result<Checkout, Error> {
    let database = Database::open()?;
    let order = store::get(&database, &id, actor.sees())?;
    page::must_be_pending(order.status)?;
    match page::current(&database, order) {
        Ok(checkout) => Ok(checkout),
        Err(why) => Err(no_page(&database, id, None, why)),
    }
}

/// Repeats the first answer to a key, whatever has happened to the order since: the order as it was created, and the
/// page that it got. If the page is missing, this opens it, as long as the order can be paid.
fn repeat_answer(database: &Database, key: &Key, used: Used) -> Result<Checkout, Error> {
    if let Some(text) = used.refused {
        return Err(Error::Invalid(text));
    }
    let order = store::get(database, &used.order_id, None)?;
    match session::first(database, &order.id)?.and_then(|attempt| attempt.page) {
        Some(page) => Ok(Checkout { order: store::as_made(order), payment_session: page.links }),
        None => {
            page::must_be_pending(order.status)?;
            open_first_page(database, order, Some(key))
        }
    }
}

/// Opens the first page of an order.
fn open_first_page(database: &Database, order: Order, key: Option<&Key>) -> Result<Checkout, Error> {
    let id = order.id.clone();
    match page::first(database, order) {
        Ok(checkout) => Ok(checkout),
        Err(why) => Err(no_page(database, id, key, why)),
    }
}

/// The error of an order that has no page.
///
/// If the provider refuses the bill permanently (for example because it is too small), nobody can ever pay the order.
/// It is then cancelled, unless another call has opened its page meanwhile, and its key gets the same answer until the
/// key expires.
fn no_page(database: &Database, order_id: OrderId, key: Option<&Key>, why: NoPage) -> Error {
    if let NoPage::Refused(text) = &why
        && let Err(error) = give_up(database, &order_id, key, text)
    {
        return error;
    }
    why.into_error(order_id)
}

/// Cancels an order whose bill was refused.
pub(crate) fn give_up(database: &Database, order_id: &str, key: Option<&Key>, why: &str) -> Result<(), Error> {
    database.transaction(|transaction| {
        transaction.query(sql::LOCK_SESSIONS, &[order_id.into()])?;
        let [changed_by, trace] = by::columns();
        let given_up = transaction.query(sql::GIVE_UP, &[order_id.into(), changed_by, trace])?.next().is_some();
        match key {
            Some(key) if given_up => Ok(key.refuse(transaction, order_id, why)?),
            _ => Ok(()),
        }
    })
}

fn no_products(error: catalog::Error, ids: &BTreeSet<u64>) -> Error {
    match error {
        catalog::Error::NotFound => unknown(ids),
        catalog::Error::Invalid(text) => Error::Invalid(text),
        catalog::Error::Unavailable(text) => Error::Unavailable(text),
        catalog::Error::Internal(text) => Error::Internal(text),
    }
}

/// Names the unknown products, after the catalogue has said that there are some. It looks up at most [`MAX_LOOKUPS`]
/// products, and omits one that was created meanwhile.
fn unknown(ids: &BTreeSet<u64>) -> Error {
    let is_unknown = |id: &&u64| matches!(catalog::get(**id), Err(catalog::Error::NotFound));
    let found: Vec<u64> = ids.iter().take(MAX_LOOKUPS).filter(is_unknown).copied().collect();
    Error::UnknownProducts(found)
}
