//! Turns rows into products: the one place that knows the columns of [`crate::sql`].

use crate::bindings::catalog::{Error, Money, Page, Product};
use souk_database::{Row, Rows};

/// The product of a statement that returns at most one row.
pub(crate) fn one(mut rows: Rows) -> Result<Product, Error> {
    rows.next().map_or(Err(Error::NotFound), |mut row| Ok(product(&mut row)?))
}

/// The products of a statement.
pub(crate) fn all(rows: Rows) -> Result<Vec<Product>, Error> {
    rows.map(|mut row| Ok(product(&mut row)?)).collect()
}

/// The page of [`crate::sql::LIST`]; the total is 0 when the page is empty.
pub(crate) fn page(rows: Rows) -> Result<Page, Error> {
    let mut page = Page { products: Vec::with_capacity(rows.len()), total: 0 };
    for mut row in rows {
        page.products.push(product(&mut row)?);
        page.total = row.integer()?;
    }
    Ok(page)
}

/// The count of [`crate::sql::COUNT`].
pub(crate) fn count(mut rows: Rows) -> Result<u64, Error> {
    Ok(rows.next().map_or(Err(souk_database::Error::Internal), |mut row| row.integer())?)
}

/// The result of [`crate::sql::SEEK`]: the first id to list, and how many products come before it.
pub(crate) fn place(mut rows: Rows) -> Result<Option<(i64, i64)>, Error> {
    let place = rows.next().map(|mut row| Ok((row.integer()?, row.integer()?)));
    place.transpose().map_err(|error: souk_database::Error| error.into())
}

/// One product, from the first columns of a row.
pub(crate) fn product(row: &mut Row) -> Result<Product, souk_database::Error> {
    Ok(Product {
        id: row.integer()?,
        name: row.text()?,
        price: Money { cents: row.integer()? },
        available: row.boolean()?,
        created_at: row.text()?,
        updated_at: row.text()?,
    })
}

impl From<souk_database::Error> for Error {
    fn from(error: souk_database::Error) -> Error {
        match error {
            souk_database::Error::Unavailable => Error::Unavailable("the catalogue's database does not answer".into()),
            souk_database::Error::Internal => {
                Error::Internal("the catalogue's database does not have the expected schema".into())
            }
        }
    }
}
