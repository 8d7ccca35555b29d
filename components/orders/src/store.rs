//! Orders in the database: stored whole or not at all, and read by those who may see them.

use crate::bindings::orders::{Actor, Error, Money, Order, Page, Query, Status};
use crate::draft::Draft;
use crate::key::Key;
use crate::{rows, session, sql};
use souk_database::{Database, Dialect, Rows, Transaction, Value};
use uuid::Uuid;

/// The most orders on one page.
pub(crate) const MAX_PAGE: u32 = 1000;
/// How many orders may come before a page that is named by its number: the database reads them all.
const MAX_OFFSET: u64 = 10_000;

impl Actor {
    /// Whose an order is that the actor makes.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) | Actor::Admin(user) => Some(user),
            Actor::Anyone => None,
        }
    }

    /// Whose orders alone the actor sees; `None` who sees all.
    pub(crate) fn sees(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) => Some(user),
            Actor::Admin(_) | Actor::Anyone => None,
        }
    }
}

/// What came of the wish for an order. Nothing is stored but in the first case.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is stored.
    Made(Box<Order>),
    /// Another call took the key first.
    KeyTaken,
    /// Too many orders of the owner wait for their payment.
    TooManyOpen,
}

/// The same, of the statements.
enum Stored {
    /// When the order was made.
    At(String),
    KeyTaken,
    TooManyOpen,
}

/// Stores an order with its lines, its key and its first payment page to be, unless `max_open` orders of the owner wait
/// for their payment: all of it or nothing.
///
/// # Errors
/// The database's.
pub(crate) fn create(
    database: &Database,
    owner: Option<&str>,
    currency: &str,
    draft: Draft,
    key: Option<&Key>,
    max_open: u32,
) -> Result<Created, Error> {
    let id = Uuid::new_v4().to_string();
    let (cents, pieces) = (rows::number(draft.total_cents)?, rows::number(draft.total_items)?);
    let order = [Value::text(id.as_str()), owner.into(), currency.into(), cents, pieces];
    let most = Value::Integer(max_open.into());
    let lines = Value::Text(rows::lines(&draft.items)?);
    let stored = match database.dialect() {
        Dialect::Sqlite => in_a_transaction(database, &id, &[order.as_slice(), &[most]].concat(), lines, key)?,
        Dialect::Postgres => at_once(database, order, lines, key, most)?,
    };
    let created_at = match stored {
        Stored::At(created_at) => created_at,
        Stored::KeyTaken => return Ok(Created::KeyTaken),
        Stored::TooManyOpen => return Ok(Created::TooManyOpen),
    };
    Ok(Created::Made(Box::new(Order {
        id,
        owner: owner.map(str::to_owned),
        total: Money { cents: draft.total_cents, currency: currency.to_owned() },
        total_items: draft.total_items,
        status: Status::Pending,
        paid_at: None,
        charge_id: None,
        receipt_url: None,
        refunded_cents: 0,
        refund_due_cents: 0,
        dispute: None,
        updated_at: created_at.clone(),
        created_at,
        items: draft.items,
    })))
}

/// Why a transaction ends without having stored anything.
enum Undone {
    TooManyOpen,
    Error(souk_database::Error),
}

impl From<souk_database::Error> for Undone {
    fn from(error: souk_database::Error) -> Undone {
        Undone::Error(error)
    }
}

fn in_a_transaction(
    database: &Database,
    id: &str,
    order: &[Value],
    lines: Value,
    key: Option<&Key>,
) -> Result<Stored, souk_database::Error> {
    let stored = database.transaction(|transaction| {
        if let Some(key) = key
            && !key.take(transaction, id)?
        {
            return Ok(Stored::KeyTaken);
        }
        // The key must not stay.
        let made = made_at(transaction.query(sql::CREATE, order)?)?.ok_or(Undone::TooManyOpen)?;
        transaction.query(sql::CREATE_ITEMS, &[id.into(), lines])?;
        session::begin(transaction, id, 1)?;
        Ok(Stored::At(made))
    });
    match stored {
        Ok(stored) => Ok(stored),
        Err(Undone::TooManyOpen) => Ok(Stored::TooManyOpen),
        Err(Undone::Error(error)) => Err(error),
    }
}

fn at_once(
    database: &Database,
    order: [Value; 5],
    lines: Value,
    key: Option<&Key>,
    most: Value,
) -> Result<Stored, Error> {
    let columns = match key {
        Some(key) => {
            database.query(sql::PURGE_KEYS, &[])?;
            key.columns()
        }
        None => [Value::Null, Value::Null, Value::Null],
    };
    let parameters: Vec<Value> = order.into_iter().chain([lines]).chain(columns).chain([most]).collect();
    let mut row = database.query(sql::CREATE_AT_ONCE, &parameters)?.next().ok_or(souk_database::Error::Internal)?;
    let (allowed, made) = (row.boolean()?, row.optional_text()?);
    match made {
        Some(made) => Ok(Stored::At(made)),
        None if allowed => Ok(Stored::KeyTaken),
        // The order that there is no room for may be the one that another call has just made with the same key.
        None => match key.map(|key| key.find(database)).transpose() {
            Ok(None | Some(None)) => Ok(Stored::TooManyOpen),
            Ok(Some(Some(_))) | Err(Error::KeyReused) => Ok(Stored::KeyTaken),
            Err(error) => Err(error),
        },
    }
}

fn made_at(mut rows: Rows) -> Result<Option<String>, souk_database::Error> {
    rows.next().map(|mut row| row.text()).transpose()
}

/// One order without its lines, if `seen_by` (see [`Actor::sees`]) sees it.
///
/// # Errors
/// `not-found`, and the database's.
pub(crate) fn find(database: &Database, id: &str, seen_by: Option<&str>) -> Result<Order, Error> {
    if id.contains('\0') {
        // No order has it, and PostgreSQL takes no such text.
        return Err(Error::NotFound);
    }
    rows::one(database.query(sql::GET, &[id.into(), seen_by.into()])?)?.ok_or(Error::NotFound)
}

/// One order without its lines, which stays as it is until the transaction ends, but for what the transaction does.
///
/// # Errors
/// As [`find`].
pub(crate) fn lock(transaction: &Transaction<'_>, id: &str) -> Result<Order, Error> {
    rows::one(transaction.query(sql::LOCK, &[id.into()])?)?.ok_or(Error::NotFound)
}

/// One order with its lines.
///
/// # Errors
/// As [`find`].
pub(crate) fn get(database: &Database, id: &str, seen_by: Option<&str>) -> Result<Order, Error> {
    let order = find(database, id, seen_by)?;
    // Lines never change, so a second statement reads what belongs to the first.
    Ok(Order { items: rows::items(database.query(sql::ITEMS, &[id.into()])?)?, ..order })
}

/// One page of the orders that `seen_by` sees.
///
/// # Errors
/// `invalid` for a page or a limit out of bounds, and the database's.
pub(crate) fn list(database: &Database, query: &Query, seen_by: Option<&str>) -> Result<Page, Error> {
    if query.page == 0 {
        return Err(Error::Invalid("page must be a positive number".into()));
    }
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Error::Invalid(format!("limit must be from 1 to {MAX_PAGE}")));
    }
    let (list, mut parameters) = match (seen_by, query.status) {
        (None, None) => (sql::ALL, vec![]),
        (None, Some(status)) => (sql::OF_STATUS, vec![rows::status_name(status).into()]),
        (Some(owner), None) => (sql::OF_OWNER, vec![owner.into()]),
        (Some(owner), Some(status)) => (sql::OF_OWNER_AND_STATUS, vec![owner.into(), rows::status_name(status).into()]),
    };
    let offset = u64::from(query.page - 1) * u64::from(query.limit);
    if offset > MAX_OFFSET {
        // The database would read all orders before the page. Past the end there is nothing to read.
        let total = count(database.query(list.count, &parameters)?)?;
        return match offset < total {
            true => Err(Error::Invalid(format!("page must be within the first {MAX_OFFSET} orders; `after` goes on"))),
            false => Ok(Page { orders: Vec::new(), total }),
        };
    }
    let filters = parameters.len();
    parameters.extend([Value::Integer(query.limit.into()), rows::number(offset)?]);
    let found = database.query(list.page, &parameters)?;
    let mut page = Page { orders: Vec::with_capacity(found.len()), total: 0 };
    for mut row in found {
        page.orders.push(rows::order(&mut row)?);
        page.total = row.integer()?;
    }
    if page.orders.is_empty() {
        parameters.truncate(filters);
        page.total = count(database.query(list.count, &parameters)?)?;
    }
    Ok(page)
}

fn count(mut rows: Rows) -> Result<u64, souk_database::Error> {
    rows.next().map_or(Err(souk_database::Error::Internal), |mut row| row.integer())
}

/// The order as it was when it was made: what has happened since is left out.
pub(crate) fn as_made(order: Order) -> Order {
    Order {
        status: Status::Pending,
        paid_at: None,
        charge_id: None,
        receipt_url: None,
        refunded_cents: 0,
        refund_due_cents: 0,
        dispute: None,
        updated_at: order.created_at.clone(),
        ..order
    }
}
