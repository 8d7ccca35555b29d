//! Rows to products: the one place that knows what the columns of [`crate::sql`] hold.

use crate::bindings::catalog::{Error, Money, Page, Product};
use spin_sdk::sqlite::{RowResult, Value};

/// The product of a statement that returns at most one row.
pub fn one(rows: Vec<RowResult>) -> Result<Product, Error> {
    rows.into_iter().next().map_or(Err(Error::NotFound), |row| product(row.values))
}

/// The products of a statement.
pub fn all(rows: Vec<RowResult>) -> Result<Vec<Product>, Error> {
    rows.into_iter().map(|row| product(row.values)).collect()
}

/// The page of [`crate::sql::LIST`]; its total is zero when it is empty.
pub fn page(rows: Vec<RowResult>) -> Result<Page, Error> {
    let mut page = Page { products: Vec::with_capacity(rows.len()), total: 0 };
    for mut row in rows {
        page.total = total(row.values.pop())?;
        page.products.push(product(row.values)?);
    }
    Ok(page)
}

/// The number of [`crate::sql::COUNT`].
pub fn count(rows: Vec<RowResult>) -> Result<u64, Error> {
    total(rows.into_iter().next().and_then(|mut row| row.values.pop()))
}

fn total(value: Option<Value>) -> Result<u64, Error> {
    match value {
        Some(Value::Integer(total)) => total.try_into().map_err(|_| unexpected("the count")),
        _ => Err(unexpected("the count")),
    }
}

/// One product; its texts are moved, not copied.
fn product(values: Vec<Value>) -> Result<Product, Error> {
    let Ok(
        [
            Value::Integer(id),
            Value::Text(name),
            Value::Integer(cents),
            Value::Integer(available),
            Value::Text(created_at),
            Value::Text(updated_at),
        ],
    ) = <[Value; 6]>::try_from(values)
    else {
        return Err(unexpected("a product"));
    };
    let (Ok(id), Ok(cents)) = (id.try_into(), cents.try_into()) else { return Err(unexpected("a product")) };
    Ok(Product { id, name, price: Money { cents }, available: available != 0, created_at, updated_at })
}

/// A row that the schema rules out: only a database changed by other hands has one.
fn unexpected(what: &str) -> Error {
    eprintln!("database: the row of {what} has other columns than migration 0001 gives it");
    Error::Internal("the catalogue's database has unexpected content".into())
}
