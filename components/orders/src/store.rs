//! Orders in the database: stored whole or not at all, and read by those who may see them.

use crate::bindings::orders::{Actor, Error, Money, Order, Page, Query, Status};
use crate::draft::Draft;
use crate::key::Key;
use crate::{rows, session, sql};
use souk_database::{Database, Dialect, Rows, Transaction, Value};
use uuid::Uuid;

/// The most orders on one page.
const MAX_PAGE: u32 = 1000;

impl Actor {
    /// Whose an order is that the actor makes.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) | Actor::Admin(user) => Some(user),
            Actor::Anyone => None,
        }
    }

    /// Whose orders alone the actor sees; `None` who sees all.
    pub fn sees(&self) -> Option<&str> {
        match self {
            Actor::Customer(user) => Some(user),
            Actor::Admin(_) | Actor::Anyone => None,
        }
    }
}

/// Stores an order with its lines, its key and its first payment page to be: all of it or nothing.
///
/// `None` when another call took the key first: then nothing is stored.
///
/// # Errors
/// The database's.
pub fn create(
    database: &Database,
    owner: Option<&str>,
    currency: &str,
    draft: Draft,
    key: Option<&Key>,
) -> Result<Option<Order>, Error> {
    let id = Uuid::new_v4().to_string();
    let (cents, pieces) = (rows::number(draft.total_cents)?, rows::number(draft.total_items)?);
    let order = [Value::text(id.as_str()), owner.into(), currency.into(), cents, pieces];
    let lines = Value::Text(rows::lines(&draft.items)?);
    let made = match database.dialect() {
        Dialect::Sqlite => in_a_transaction(database, &id, &order, lines, key)?,
        Dialect::Postgres => at_once(database, order, lines, key)?,
    };
    Ok(made.map(|created_at| Order {
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
        updated_at: created_at.clone(),
        created_at,
        items: draft.items,
    }))
}

/// When the order was made, unless the key is taken.
fn in_a_transaction(
    database: &Database,
    id: &str,
    order: &[Value],
    lines: Value,
    key: Option<&Key>,
) -> Result<Option<String>, souk_database::Error> {
    database.transaction(|transaction| {
        if let Some(key) = key
            && !key.take(transaction, id)?
        {
            return Ok(None);
        }
        let made = made_at(transaction.query(sql::CREATE, order)?)?;
        transaction.query(sql::CREATE_ITEMS, &[id.into(), lines])?;
        session::begin(transaction, id, 1)?;
        Ok(made)
    })
}

/// When the order was made, unless the key is taken.
fn at_once(
    database: &Database,
    order: [Value; 5],
    lines: Value,
    key: Option<&Key>,
) -> Result<Option<String>, souk_database::Error> {
    let key = match key {
        Some(key) => {
            database.query(sql::PURGE_KEYS, &[])?;
            key.columns()
        }
        None => [Value::Null, Value::Null, Value::Null],
    };
    let parameters: Vec<Value> = order.into_iter().chain([lines]).chain(key).collect();
    made_at(database.query(sql::CREATE_AT_ONCE, &parameters)?)
}

fn made_at(mut rows: Rows) -> Result<Option<String>, souk_database::Error> {
    rows.next().map(|mut row| row.text()).transpose()
}

/// One order without its lines, if `seen_by` (see [`Actor::sees`]) sees it.
///
/// # Errors
/// `not-found`, and the database's.
pub fn find(database: &Database, id: &str, seen_by: Option<&str>) -> Result<Order, Error> {
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
pub fn lock(transaction: &Transaction<'_>, id: &str) -> Result<Order, Error> {
    rows::one(transaction.query(sql::LOCK, &[id.into()])?)?.ok_or(Error::NotFound)
}

/// One order with its lines.
///
/// # Errors
/// As [`find`].
pub fn get(database: &Database, id: &str, seen_by: Option<&str>) -> Result<Order, Error> {
    let order = find(database, id, seen_by)?;
    // Lines never change, so a second statement reads what belongs to the first.
    Ok(Order { items: rows::items(database.query(sql::ITEMS, &[id.into()])?)?, ..order })
}

/// One page of the orders that `seen_by` sees.
///
/// # Errors
/// `invalid` for a page or a limit out of bounds, and the database's.
pub fn list(database: &Database, query: &Query, seen_by: Option<&str>) -> Result<Page, Error> {
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
    let filters = parameters.len();
    let offset = i64::from(query.page - 1) * i64::from(query.limit);
    parameters.extend([Value::Integer(query.limit.into()), Value::Integer(offset)]);
    let found = database.query(list.page, &parameters)?;
    let mut page = Page { orders: Vec::with_capacity(found.len()), total: 0 };
    for mut row in found {
        page.orders.push(rows::order(&mut row)?);
        page.total = row.integer()?;
    }
    if page.orders.is_empty() {
        parameters.truncate(filters);
        let mut count = database.query(list.count, &parameters)?;
        page.total = count.next().map_or(Err(souk_database::Error::Internal), |mut row| row.integer())?;
    }
    Ok(page)
}

/// The order as it was when it was made: what has happened since is left out.
pub fn as_made(order: Order) -> Order {
    Order {
        status: Status::Pending,
        paid_at: None,
        charge_id: None,
        receipt_url: None,
        refunded_cents: 0,
        refund_due_cents: 0,
        updated_at: order.created_at.clone(),
        ..order
    }
}
