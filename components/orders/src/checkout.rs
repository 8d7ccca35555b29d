//! Making an order, and opening the page on which it is paid. The two are not one step, as the payment provider is no
//! part of our transactions: the order is stored first, then its page is opened. When the second fails, or the process
//! dies in between, the order waits; the same call with its idempotency key, or `pay`, opens its page.

use crate::bindings::catalog;
use crate::bindings::checkout::{self, LineItem, SessionRequest};
use crate::bindings::orders::{Actor, Checkout, Error, NewOrder, Order, OrderId, PaymentSession, Status, Unpayable};
use crate::key::{Key, Used};
use crate::{draft, session, sql, status, store};
use database::Database;
use std::cell::OnceCell;

/// The variable with the currency of all prices.
const CURRENCY: &str = "currency";

/// Makes an order and opens its page.
pub async fn create(actor: Actor, new: NewOrder) -> Result<Checkout, Error> {
    draft::check(&new.items)?;
    let owner = actor.owner();
    if owner == Some("") {
        return Err(Error::Invalid("a user's number cannot be empty".into()));
    }
    let key = new.idempotency_key.map(|key| Key::new(owner, key, &new.items)).transpose()?;
    let database = Database::open().await?;
    if let Some(key) = &key
        && let Some(used) = key.find(&database)?
    {
        return answer_again(&database, key, used).await;
    }
    let products =
        catalog::validate(new.items.iter().map(|item| item.product_id).collect()).await.map_err(no_products)?;
    let draft = draft::price(&new.items, &products)?;
    match store::create(&database, owner, &currency().await?, draft, key.as_ref())? {
        Some(order) => open_first_page(&database, order, key.as_ref()).await,
        None => {
            // Another call with the key was first; the same answer serves both.
            let used = key.as_ref().map(|key| key.find(&database)).transpose()?.flatten();
            match (&key, used) {
                (Some(key), Some(used)) => answer_again(&database, key, used).await,
                _ => Err(Error::Unavailable("the idempotency key is in use".into())),
            }
        }
    }
}

/// The page of a pending order: the last one while it is open, else another.
pub async fn pay(actor: Actor, id: OrderId) -> Result<Checkout, Error> {
    let database = Database::open().await?;
    let order = store::get(&database, &id, actor.sees())?;
    must_be_pending(&order)?;
    let number = match session::last(&database, &id)? {
        Some(session::Attempt { open: true, page: Some(payment_session), .. }) => {
            return Ok(Checkout { order, payment_session });
        }
        // Never opened, as far as is known: asked for again as the same attempt, it cannot become two.
        Some(session::Attempt { page: None, number, .. }) => number,
        ended => {
            let next = ended.map_or(1, |attempt| attempt.number.saturating_add(1));
            session::begin(&database, &id, next)?;
            next
        }
    };
    match open_page(&database, &order, number).await {
        Ok(payment_session) => Ok(Checkout { order, payment_session }),
        Err(NoPage::Refused(text)) => Err(Error::Invalid(text)),
        Err(NoPage::Later(message)) => Err(Error::PaymentUnavailable(Unpayable { order_id: order.id, message })),
    }
}

/// The first answer to a key: the order as it was made, and the page that it got. What was missing is made up for.
async fn answer_again(database: &Database, key: &Key, used: Used) -> Result<Checkout, Error> {
    if let Some(text) = used.refused {
        return Err(Error::Invalid(text));
    }
    let order = store::get(database, &used.order_id, None)?;
    match session::first(database, &order.id)?.and_then(|attempt| attempt.page) {
        Some(payment_session) => Ok(Checkout { order: store::as_made(order), payment_session }),
        None => {
            must_be_pending(&order)?;
            open_first_page(database, order, Some(key)).await
        }
    }
}

/// Opens the first page of an order.
///
/// When the provider refuses the bill for good (it is too large, say), nobody can ever pay the order: it is cancelled,
/// unless another call has opened its page meanwhile, and its key is told the same for as long as it counts.
async fn open_first_page(database: &Database, order: Order, key: Option<&Key>) -> Result<Checkout, Error> {
    match open_page(database, &order, 1).await {
        Ok(payment_session) => Ok(Checkout { order, payment_session }),
        Err(NoPage::Later(message)) => Err(Error::PaymentUnavailable(Unpayable { order_id: order.id, message })),
        Err(NoPage::Refused(text)) => {
            give_up(database, &order.id, key, &text)?;
            Err(Error::Invalid(text))
        }
    }
}

/// Cancels an order whose bill was refused.
fn give_up(database: &Database, order_id: &str, key: Option<&Key>, why: &str) -> Result<(), Error> {
    database.transaction(|transaction| {
        let given_up = transaction.query(sql::GIVE_UP, &[order_id.into()])?.next().is_some();
        match key {
            Some(key) if given_up => Ok(key.refuse(transaction, order_id, why)?),
            _ => Ok(()),
        }
    })
}

/// Why there is no page, for the end user.
enum NoPage {
    /// There never will be.
    Refused(String),
    /// There may be later.
    Later(String),
}

/// Opens the page of attempt `number`. That it could not be stored does not matter to the customer: the same attempt
/// gives the same page again.
async fn open_page(database: &Database, order: &Order, number: u32) -> Result<PaymentSession, NoPage> {
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
    let session = checkout::create_session(bill).await.map_err(|error| match error {
        checkout::Error::Invalid(text) => NoPage::Refused(text),
        checkout::Error::Unavailable(text) | checkout::Error::Internal(text) => NoPage::Later(text),
    })?;
    if session::save(database, &order.id, number, &session).is_err() {
        eprintln!("order {}: its payment page {number} is open but could not be stored", order.id);
    }
    Ok(PaymentSession { url: session.url, success_url: session.success_url, cancel_url: session.cancel_url })
}

fn must_be_pending(order: &Order) -> Result<(), Error> {
    if order.status == Status::Pending {
        return Ok(());
    }
    Err(Error::Conflict(format!("an order that is {} cannot be paid", status::name(order.status))))
}

fn no_products(error: catalog::Error) -> Error {
    match error {
        catalog::Error::NotFound => Error::UnknownProducts,
        catalog::Error::Invalid(text) => Error::Invalid(text),
        catalog::Error::Unavailable(text) => Error::Unavailable(text),
        catalog::Error::Internal(text) => Error::Internal(text),
    }
}

/// The currency of all prices, read once in an instance's life.
async fn currency() -> Result<String, Error> {
    thread_local! {
        static READ: OnceCell<String> = const { OnceCell::new() };
    }
    if let Some(currency) = READ.with(|read| read.get().cloned()) {
        return Ok(currency);
    }
    let unset = |detail: String| {
        eprintln!("variable `{CURRENCY}`: {detail}");
        Error::Internal("the currency of the prices is not set".into())
    };
    let currency = spin_sdk::variables::get(CURRENCY).await.map_err(|e| unset(e.to_string()))?;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(unset("it must be an ISO 4217 code in lower case, such as `usd`".into()));
    }
    READ.with(|read| read.set(currency.clone())).ok();
    Ok(currency)
}
