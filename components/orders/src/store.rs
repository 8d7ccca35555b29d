//! Stores orders whole or not at all, and reads them for the actors that may see them.

use crate::bindings::orders::{Actor, Error, Money, Order, Page, Query, Status};
use crate::draft::Draft;
use crate::key::Key;
use crate::{by, rows, sql};
use souk_database::{Database, Dialect, Rows, Transaction, Value};
use uuid::Uuid;

/// The most orders on one page.
pub(crate) const MAX_PAGE: u32 = 1000;
/// How many orders may come before a numbered page: the database reads them all.
const MAX_OFFSET: u64 = 10_000;

impl Actor {
    /// The owner of the orders that the actor creates.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) | Actor::Admin(user) => Some(user),
            Actor::Anyone => None,
        }
    }

    /// The owner whose orders the actor sees; `None` if the actor sees all.
    pub(crate) fn sees(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) => Some(user),
            Actor::Admin(_) | Actor::Anyone => None,
        }
    }
}

/// The outcome of creating an order. Only `Made` stores anything.
#[derive(Debug)]
pub(crate) enum Created {
    /// The order is stored.
    Made(Box<Order>),
    /// Another call took the key first.
    KeyTaken,
    /// Too many of the owner's orders wait for their payment.
    TooManyOpen,
}

/// The outcome of the statements.
enum Stored {
    /// The time when the order was created.
    At(String),
    KeyTaken,
    TooManyOpen,
}

/// Stores an order with its lines, its key and the first attempt of a payment page, all or nothing. Refuses if
/// `max_open` orders of the owner already wait for their payment.
///
/// # Errors
/// Those of the database.
pub(crate) fn create(
    database: &Database,
    owner: Option<&str>,
    currency: &str,
    draft: Draft,
    key: Option<&Key>,
    max_open: u32,
) -> Result<Created, Error> {
    let id = Uuid::now_v7().to_string();
    let (cents, pieces) = (rows::number(draft.total_cents)?, rows::number(draft.total_items)?);
    let order = [Value::text(id.as_str()), owner.into(), currency.into(), cents, pieces];
    let max_open = Value::Integer(max_open.into());
    let lines = Value::Text(rows::lines(&draft.items)?);
    let stored = match database.dialect() {
        Dialect::Sqlite => {
            let parameters = [order.as_slice(), &[max_open], &by::columns(), &[lines]].concat();
            create_on_sqlite(database, &id, &parameters, key)?
        }
        Dialect::Postgres => create_on_postgres(database, order, lines, key, max_open)?,
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

/// Why the transaction was rolled back.
enum Rollback {
    TooManyOpen,
    Error(souk_database::Error),
}

impl From<souk_database::Error> for Rollback {
    fn from(error: souk_database::Error) -> Rollback {
        Rollback::Error(error)
    }
}

fn create_on_sqlite(
    database: &Database,
    id: &str,
    parameters: &[Value],
    key: Option<&Key>,
) -> Result<Stored, souk_database::Error> {
    let Some(key) = key else {
        let made = created_at_of(database.query(sql::CREATE, parameters)?)?;
        return Ok(made.map_or(Stored::TooManyOpen, Stored::At));
    };
    let stored = database.transaction(|transaction| {
        if !key.claim(transaction, id)? {
            return Ok(Stored::KeyTaken);
        }
        // An error rolls the transaction back, so that the key is not stored.
        let made = created_at_of(transaction.query(sql::CREATE, parameters)?)?.ok_or(Rollback::TooManyOpen)?;
        Ok(Stored::At(made))
    });
    match stored {
        Ok(stored) => Ok(stored),
        Err(Rollback::TooManyOpen) => Ok(Stored::TooManyOpen),
        Err(Rollback::Error(error)) => Err(error),
    }
}

fn create_on_postgres(
    database: &Database,
    order: [Value; 5],
    lines: Value,
    key: Option<&Key>,
    max_open: Value,
) -> Result<Stored, Error> {
    let columns = match key {
        Some(key) => {
            database.query(sql::PURGE_KEYS, &[])?;
            key.columns()
        }
        None => [Value::Null, Value::Null, Value::Null],
    };
    let parameters = order.into_iter().chain([lines]).chain(columns).chain([max_open]).chain(by::columns());
    let parameters: Vec<Value> = parameters.collect();
    let mut row = database.query(sql::CREATE_AT_ONCE, &parameters)?.next().ok_or(souk_database::Error::Internal)?;
    let (allowed, made) = (row.boolean()?, row.optional_text()?);
    match made {
        Some(made) => Ok(Stored::At(made)),
        None if allowed => Ok(Stored::KeyTaken),
        // The open order that uses up the limit may be one that another call has just created with the same key.
        None => match key.map(|key| key.find(database)).transpose() {
            Ok(None | Some(None)) => Ok(Stored::TooManyOpen),
            Ok(Some(Some(_))) | Err(Error::KeyReused) => Ok(Stored::KeyTaken),
            Err(error) => Err(error),
        },
    }
}

fn created_at_of(mut rows: Rows) -> Result<Option<String>, souk_database::Error> {
    rows.next().map(|mut row| row.text()).transpose()
}

/// One order without its lines, if `seen_by` (see [`Actor::sees`]) may see it.
///
/// # Errors
/// `not-found`, and those of the database.
pub(crate) fn find(database: &Database, id: &str, seen_by: Option<&str>) -> Result<Order, Error> {
    if id.contains('\0') {
        // No order has such an id, and PostgreSQL refuses the text.
        return Err(Error::NotFound);
    }
    rows::one(database.query(sql::GET, &[id.into(), seen_by.into()])?)?.ok_or(Error::NotFound)
}

/// One order without its lines, locked: only this transaction can change it until it ends.
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
    // Lines never change, so the second statement reads the lines of the same state.
    Ok(Order { items: rows::items(database.query(sql::ITEMS, &[id.into()])?)?, ..order })
}

/// One page of the orders that `seen_by` may see.
///
/// # Errors
/// `invalid` for a page or a limit out of bounds, and those of the database.
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
        // The database would read all orders before the page. Past the end there is nothing to read, so an empty page
        // is returned.
        let total = count(database.query(list.count, &parameters)?)?;
        return match offset < total {
            true => Err(Error::Invalid(format!(
                "page must be within the first {MAX_OFFSET} orders; use `after` for later ones"
            ))),
            false => Ok(Page { orders: Vec::new(), total }),
        };
    }
    let filter_count = parameters.len();
    parameters.extend([Value::Integer(query.limit.into()), rows::number(offset)?]);
    let found = database.query(list.page, &parameters)?;
    let mut page = Page { orders: Vec::with_capacity(found.len()), total: 0 };
    for mut row in found {
        page.orders.push(rows::order(&mut row)?);
        page.total = row.integer()?;
    }
    if page.orders.is_empty() {
        parameters.truncate(filter_count);
        page.total = count(database.query(list.count, &parameters)?)?;
    }
    Ok(page)
}

fn count(mut rows: Rows) -> Result<u64, souk_database::Error> {
    rows.next().map_or(Err(souk_database::Error::Internal), |mut row| row.integer())
}

/// The order as it was when it was created, without later changes.
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
