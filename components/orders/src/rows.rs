//! Converts rows into orders: the one place that knows the columns of an order.

use crate::bindings::orders::{DisputeState, Item, Money, Order, Status};
use souk_database::{Error, Row, Rows, Value};

/// Every status.
pub(crate) const STATUSES: [Status; 5] =
    [Status::Pending, Status::Paid, Status::Delivered, Status::Cancelled, Status::Refunded];

/// An order, from the first columns of a row; without its lines.
pub(crate) fn order(row: &mut Row) -> Result<Order, Error> {
    let (id, owner, currency, cents) = (row.text()?, row.optional_text()?, row.text()?, row.integer()?);
    Ok(Order {
        id,
        owner,
        total: Money { cents, currency },
        total_items: row.integer()?,
        status: status(row)?,
        paid_at: row.optional_text()?,
        charge_id: row.optional_text()?,
        receipt_url: row.optional_text()?,
        refunded_cents: row.integer()?,
        refund_due_cents: row.integer()?,
        created_at: row.text()?,
        updated_at: row.text()?,
        dispute: row.optional_text()?.map(|text| dispute(&text)).transpose()?,
        items: Vec::new(),
    })
}

/// The order of a statement that returns at most one.
pub(crate) fn one(mut rows: Rows) -> Result<Option<Order>, Error> {
    rows.next().map(|mut row| order(&mut row)).transpose()
}

/// The lines of an order.
pub(crate) fn items(rows: Rows) -> Result<Vec<Item>, Error> {
    rows.map(|mut row| {
        Ok(Item { product_id: row.integer()?, name: row.text()?, unit_cents: row.integer()?, quantity: row.integer()? })
    })
    .collect()
}

/// The lines of an order as a parameter of the statements: a JSON array with an array of product, name, price and
/// quantity for each.
pub(crate) fn lines(items: &[Item]) -> Result<String, Error> {
    let fits = |value: u64| i64::try_from(value).map_err(|_| too_large());
    let lines = items.iter().map(|Item { product_id, name, unit_cents, quantity }| {
        Ok((fits(*product_id)?, name.as_str(), fits(*unit_cents)?, *quantity))
    });
    let lines = lines.collect::<Result<Vec<_>, Error>>()?;
    serde_json::to_string(&lines).map_err(|error| {
        eprintln!("database: the lines of an order cannot be written: {error}");
        Error::Internal
    })
}

/// A count or an amount as the database stores it. The component has checked its range before, so a number that does
/// not fit is an internal error.
pub(crate) fn number(value: u64) -> Result<Value, Error> {
    i64::try_from(value).map(Value::Integer).map_err(|_| too_large())
}

fn too_large() -> Error {
    eprintln!("database: a number is too large to be stored");
    Error::Internal
}

/// The status as the database stores it and as messages name it.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Paid => "PAID",
        Status::Delivered => "DELIVERED",
        Status::Cancelled => "CANCELLED",
        Status::Refunded => "REFUNDED",
    }
}

/// The state of a dispute as the database stores it.
pub(crate) fn dispute_name(state: DisputeState) -> &'static str {
    match state {
        DisputeState::Open => "OPEN",
        DisputeState::Won => "WON",
        DisputeState::Lost => "LOST",
    }
}

/// The state of a dispute that the database stores as this text.
pub(crate) fn dispute(text: &str) -> Result<DisputeState, Error> {
    let states = [DisputeState::Open, DisputeState::Won, DisputeState::Lost];
    states.into_iter().find(|state| dispute_name(*state) == text).ok_or_else(|| {
        eprintln!("database: a dispute has an unknown state");
        Error::Internal
    })
}

/// The status in the next column.
pub(crate) fn status(row: &mut Row) -> Result<Status, Error> {
    let text = row.text()?;
    STATUSES.into_iter().find(|status| status_name(*status) == text).ok_or_else(|| {
        eprintln!("database: an order has an unknown status");
        Error::Internal
    })
}
