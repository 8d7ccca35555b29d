//! The catalogue for a NestJS system: answers its requests about products with `store:products/catalog`.
//!
//! Patterns, data, responses and errors are those of the system's own product service. Where the catalogue is stricter
//! (a product that is gone cannot be changed, a name cannot be null) its error is told with the status that a client
//! would expect.

mod bindings;

use bindings::catalog::{self, Money, NewProduct, Product, ProductChanges};
use bindings::requests::{Error, Guest};
use serde::{Deserialize, Serialize};
use souk_nest::{Decimal, Number, Paging, decimal, exception, number};

/// The component. It remembers nothing between calls.
struct Products;

impl Guest for Products {
    fn handle(pattern: String, data: String) -> Result<String, Error> {
        match pattern.as_str() {
            r#"{"cmd":"create_product"}"# => create(&data),
            r#"{"cmd":"find_all_products"}"# => list(&data),
            r#"{"cmd":"find_one_product"}"# => get(&data),
            r#"{"cmd":"update_product"}"# => update(&data),
            r#"{"cmd":"delete_product"}"# => delete(&data),
            r#"{"cmd":"validate_products"}"# => validate(&data),
            unknown => Err(Error::Exception(souk_nest::unknown(unknown))),
        }
    }
}

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(deserialize_with = "decimal")]
    price: u64,
}

#[derive(Deserialize)]
struct Id {
    #[serde(deserialize_with = "number")]
    id: u64,
}

#[derive(Deserialize)]
struct Update {
    #[serde(deserialize_with = "number")]
    id: u64,
    #[serde(default, deserialize_with = "some_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "some_decimal")]
    price: Option<u64>,
}

/// A text that is there: `null` is not "leave it as it is".
fn some_text<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    String::deserialize(input).map(Some)
}

fn some_decimal<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    decimal(input).map(Some)
}

/// Without ids the answer is empty, as in the NestJS system.
#[derive(Deserialize)]
struct Ids {
    #[serde(default)]
    ids: Option<Vec<u64>>,
}

/// A product as the system's services know it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: u64,
    name: String,
    price: Decimal,
    available: bool,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct List {
    data: Vec<View>,
    pagination: Pagination,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: Number,
    limit: Number,
    /// The number of products, not of pages: the clients know it under this name.
    total_pages: u64,
    last_page: u64,
}

impl From<Product> for View {
    fn from(product: Product) -> Self {
        let Product { id, name, price, available, created_at, updated_at } = product;
        View { id, name, price: Decimal(price.cents), available, created_at, updated_at }
    }
}

fn create(data: &str) -> Result<String, Error> {
    let Create { name, price } = souk_nest::data(data).map_err(Error::Exception)?;
    let product = catalog::create(&NewProduct { name, price: Money { cents: price } });
    one(product, None)
}

fn list(data: &str) -> Result<String, Error> {
    let paging: Paging = souk_nest::data(data).map_err(Error::Exception)?;
    let window = paging.window().map_err(Error::Exception)?;
    let (mut products, mut total_pages) = (Vec::new(), 0);
    for page in window.pages() {
        let found = catalog::list(page, window.size).map_err(|error| to_nest_error(error, None))?;
        total_pages = found.total;
        products.extend(found.products);
    }
    let last_page = paging.last_page(total_pages);
    let pagination = Pagination { page: Number(paging.page), limit: Number(paging.limit), total_pages, last_page };
    Ok(souk_nest::json(&List { data: views(window.cut(products)), pagination }))
}

fn get(data: &str) -> Result<String, Error> {
    let Id { id } = souk_nest::data(data).map_err(Error::Exception)?;
    one(catalog::get(id), Some(id))
}

fn update(data: &str) -> Result<String, Error> {
    let Update { id, name, price } = souk_nest::data(data).map_err(Error::Exception)?;
    if name.is_none() && price.is_none() {
        return Err(Error::Exception(exception(400, "No data provided")));
    }
    let changes = ProductChanges { name, price: price.map(|cents| Money { cents }) };
    one(catalog::update(id, &changes), Some(id))
}

fn delete(data: &str) -> Result<String, Error> {
    let Id { id } = souk_nest::data(data).map_err(Error::Exception)?;
    one(catalog::delete(id), Some(id))
}

fn validate(data: &str) -> Result<String, Error> {
    let asked: Option<Ids> = souk_nest::data(data).map_err(Error::Exception)?;
    let ids = asked.and_then(|asked| asked.ids).unwrap_or_default();
    let products = catalog::validate(&ids).map_err(|error| to_nest_error(error, None))?;
    Ok(souk_nest::json(&views(products)))
}

fn one(product: Result<Product, catalog::Error>, id: Option<u64>) -> Result<String, Error> {
    match product {
        Ok(product) => Ok(souk_nest::json(&View::from(product))),
        Err(error) => Err(to_nest_error(error, id)),
    }
}

fn views(products: Vec<Product>) -> Vec<View> {
    products.into_iter().map(View::from).collect()
}

/// What the catalogue refuses; `id` is the product that was asked for.
fn to_nest_error(error: catalog::Error, id: Option<u64>) -> Error {
    match (error, id) {
        (catalog::Error::NotFound, Some(id)) => Error::Exception(exception(404, format!("Product #{id} not found"))),
        (catalog::Error::NotFound, None) => Error::Exception(exception(400, "Some products were not found")),
        (catalog::Error::Invalid(text), _) => Error::Exception(exception(400, text)),
        (catalog::Error::Unavailable(text), _) => Error::Unavailable(text),
        (catalog::Error::Internal(detail), _) => {
            eprintln!("the catalogue failed: {detail}");
            Error::Exception(exception(500, "Internal server error"))
        }
    }
}
