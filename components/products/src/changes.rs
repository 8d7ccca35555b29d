//! Changes of the catalogue by a named author: `store:products/changes`. The database's triggers write the history in
//! the same statement as the change.

use crate::bindings::catalog::{Error, NewProduct, NextPage, Product, ProductChanges, ProductId};
use crate::bindings::changes::{Author, Change, Guest, What};
use crate::{Catalog, MAX_PAGE, cents, key, listed, name, rows, sql};
use souk_database::{Database, Row, Value};

/// The most changes of a product that are returned.
const MAX_CHANGES: i64 = 1000;
/// The longest id of an author, in bytes.
const MAX_AUTHOR_BYTES: usize = 255;

impl Guest for Catalog {
    fn create(by: Author, product: NewProduct) -> Result<Product, Error> {
        create(by, product)
    }

    fn update(by: Author, id: ProductId, changes: ProductChanges) -> Result<Product, Error> {
        update(by, id, changes)
    }

    fn delete(by: Author, id: ProductId) -> Result<Product, Error> {
        delete(by, id)
    }

    fn restore(by: Author, id: ProductId) -> Result<Product, Error> {
        restore(&Database::open()?, by, id)
    }

    fn list_deleted(after: Option<ProductId>, limit: u32) -> Result<NextPage, Error> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::Invalid(format!("limit must be from 1 to {MAX_PAGE}")));
        }
        let after = after.map_or(0, |id| i64::try_from(id).unwrap_or(i64::MAX));
        listed(&Database::open()?, sql::LIST_DELETED, after, limit)
    }

    fn history(id: ProductId) -> Result<Vec<Change>, Error> {
        history(&Database::open()?, id)
    }
}

pub(crate) fn create(by: Author, product: NewProduct) -> Result<Product, Error> {
    let [by, trace] = columns(by)?;
    let parameters = [Value::Text(name(product.name)?), cents(product.price)?, by, trace];
    rows::one(Database::open()?.query(sql::CREATE, &parameters)?)
}

pub(crate) fn update(by: Author, id: ProductId, changes: ProductChanges) -> Result<Product, Error> {
    if changes.name.is_none() && changes.price.is_none() {
        return Err(Error::Invalid("nothing to change: give a name or a price".into()));
    }
    let name = changes.name.map(name).transpose()?.map_or(Value::Null, Value::Text);
    let price = changes.price.map(cents).transpose()?.unwrap_or(Value::Null);
    let [by, trace] = columns(by)?;
    rows::one(Database::open()?.query(sql::UPDATE, &[key(id)?, name, price, by, trace])?)
}

pub(crate) fn delete(by: Author, id: ProductId) -> Result<Product, Error> {
    let [by, trace] = columns(by)?;
    rows::one(Database::open()?.query(sql::DELETE, &[key(id)?, by, trace])?)
}

/// Puts a deleted product back into the catalogue; a product that is available stays as it is.
pub(crate) fn restore(database: &Database, by: Author, id: ProductId) -> Result<Product, Error> {
    let [by, trace] = columns(by)?;
    match rows::one(database.query(sql::RESTORE, &[key(id)?, by, trace])?) {
        Err(Error::NotFound) => rows::one(database.query(sql::GET, &[key(id)?])?),
        restored => restored,
    }
}

pub(crate) fn history(database: &Database, id: ProductId) -> Result<Vec<Change>, Error> {
    let changes = database.query(sql::HISTORY, &[key(id)?, Value::Integer(MAX_CHANGES)])?;
    let changes = changes.map(change).collect::<Result<Vec<_>, _>>()?;
    if changes.is_empty() && database.query(sql::EXISTS, &[key(id)?])?.next().is_none() {
        return Err(Error::NotFound);
    }
    Ok(changes)
}

/// The values of the columns `changed_by` and `trace`: the author, and the id of the request.
fn columns(by: Author) -> Result<[Value; 2], Error> {
    let text = |text: String| if text.is_empty() { Value::Null } else { Value::Text(text) };
    match by {
        Some(by) if by.len() > MAX_AUTHOR_BYTES || by.contains('\0') => {
            Err(Error::Invalid(format!("a user's id has at most {MAX_AUTHOR_BYTES} bytes")))
        }
        by => Ok([text(by.unwrap_or_default()), text(souk_call::request_id())]),
    }
}

fn change(mut row: Row) -> Result<Change, souk_database::Error> {
    Ok(Change {
        at: row.text()?,
        by: row.optional_text()?,
        trace: row.optional_text()?,
        what: match row.text()?.as_str() {
            "PRICE" => What::Price,
            "AVAILABLE" => What::Available,
            _ => return Err(souk_database::Error::Internal),
        },
        from: row.optional_text()?,
        to: row.text()?,
    })
}
