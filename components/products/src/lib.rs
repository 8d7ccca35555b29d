//! The catalogue: exports `store:products/catalog`, `store:products/changes` for callers that name the author of a
//! change, and `store:products/names`. It keeps its products in its database.
//!
//! Each operation is one SQL statement (a page past the end, or far down the list, takes two), so each is atomic
//! without a transaction, and a call goes to the database once. A condition that a statement must guard (`available =
//! 1`) stands in its WHERE clause, not in a read before it. The component checks arguments itself, because the gateway
//! is not the only caller; the schema's CHECKs are the last line of defence.

mod bindings;
mod changes;
mod import;
mod names;
mod rows;
mod sql;

use bindings::catalog::{Error, Guest, Money, NewProduct, NextPage, Page, Product, ProductChanges, ProductId};
use souk_database::{Database, Statement, Value};

/// The highest price of a product, in cents, as in the schema's CHECK. Sums of many such prices still fit a 64-bit
/// integer.
const MAX_PRICE_CENTS: u64 = 1_000_000_000_000;
/// The most products on one page, and the most ids in one `validate`.
const MAX_PAGE: u32 = 1000;

/// The component: it has no state of its own.
struct Catalog;

impl Guest for Catalog {
    fn create(product: NewProduct) -> Result<Product, Error> {
        changes::create(None, product)
    }

    fn list(page: u32, limit: u32) -> Result<Page, Error> {
        if page == 0 {
            return Err(Error::Invalid("page must be a positive number".into()));
        }
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::Invalid(format!("limit must be from 1 to {MAX_PAGE}")));
        }
        page_of(&Database::open()?, limit.into(), i64::from(page - 1) * i64::from(limit))
    }

    fn list_after(after: Option<ProductId>, limit: u32) -> Result<NextPage, Error> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::Invalid(format!("limit must be from 1 to {MAX_PAGE}")));
        }
        // An id that does not fit the database's integer comes after all products.
        let after = after.map_or(0, |id| i64::try_from(id).unwrap_or(i64::MAX));
        next_page(&Database::open()?, after, limit)
    }

    fn get(id: ProductId) -> Result<Product, Error> {
        rows::one(Database::open()?.query(sql::GET, &[key(id)?])?)
    }

    fn update(id: ProductId, changes: ProductChanges) -> Result<Product, Error> {
        changes::update(None, id, changes)
    }

    fn delete(id: ProductId) -> Result<Product, Error> {
        changes::delete(None, id)
    }

    fn validate(mut ids: Vec<ProductId>) -> Result<Vec<Product>, Error> {
        ids.sort_unstable();
        ids.dedup();
        let Some(largest) = ids.last() else { return Ok(Vec::new()) };
        key(*largest)?;
        let products = rows::all(Database::open()?.query(sql::VALIDATE, &[id_list(&ids)?])?)?;
        if products.len() == ids.len() { Ok(products) } else { Err(Error::NotFound) }
    }
}

/// Ids as one JSON text: the statement is the same for any number of ids, so it stays in the statement cache.
fn id_list(ids: &[ProductId]) -> Result<Value, Error> {
    if ids.len() > MAX_PAGE as usize {
        return Err(Error::Invalid(format!("at most {MAX_PAGE} products at once")));
    }
    let list = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    Ok(Value::Text(format!("[{list}]")))
}

/// The page of `limit` products after the first `offset` ones. Far down the list it first looks up the block of ids in
/// which the page begins, so that the page costs as much as the first one.
fn page_of(database: &Database, limit: i64, offset: i64) -> Result<Page, Error> {
    let place = match offset {
        ..=sql::MAX_SKIP => Some((0, 0)),
        _ => rows::place(database.query(sql::SEEK, &[Value::Integer(offset)])?)?,
    };
    let mut page = Page { products: Vec::new(), total: 0 };
    if let Some((start, before)) = place {
        let parameters = [limit, offset - before, start].map(Value::Integer);
        page = rows::page(database.query(sql::LIST, &parameters)?)?;
    }
    if page.products.is_empty() {
        page.total = rows::count(database.query(sql::COUNT, &[])?)?;
    }
    Ok(page)
}

/// The first `limit` products after the id `after`, and where the next page begins.
fn next_page(database: &Database, after: i64, limit: u32) -> Result<NextPage, Error> {
    listed(database, sql::LIST_AFTER, after, limit)
}

/// The first `limit` products after the id `after`, from a statement that lists products.
fn listed(database: &Database, list: Statement<'_>, after: i64, limit: u32) -> Result<NextPage, Error> {
    // Read one product more, to know whether there is a next page.
    let parameters = [after, i64::from(limit) + 1].map(Value::Integer);
    let mut products = rows::all(database.query(list, &parameters)?)?;
    let more = products.len() > limit as usize;
    products.truncate(limit as usize);
    let next = products.last().filter(|_| more).map(|product| product.id);
    Ok(NextPage { products, next })
}

/// A product's id as the database stores it; an id that no row can have is not found.
fn key(id: ProductId) -> Result<Value, Error> {
    i64::try_from(id).map(Value::Integer).map_err(|_| Error::NotFound)
}

/// Checks a name. Blank and long names are allowed, as they always were; callers shorten long names for display. U+0000
/// is refused, because PostgreSQL cannot store it in a text.
fn name(name: String) -> Result<String, Error> {
    if name.is_empty() {
        Err(Error::Invalid("name should not be empty".into()))
    } else if name.contains('\0') {
        Err(Error::Invalid("name must not contain the character U+0000".into()))
    } else {
        Ok(name)
    }
}

/// Checks a price.
fn cents(price: Money) -> Result<Value, Error> {
    i64::try_from(price.cents)
        .ok()
        .filter(|_| price.cents <= MAX_PRICE_CENTS)
        .map(Value::Integer)
        .ok_or_else(|| Error::Invalid(format!("price must not be greater than {MAX_PRICE_CENTS} cents")))
}

#[cfg(test)]
mod tests;
