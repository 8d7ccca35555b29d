//! `/api/products`: the catalogue. Anyone reads it, administrators change it.

use super::history::HistoryView;
use super::no_route;
use crate::authorize;
use crate::bindings::catalog::{self, Money, NewProduct, Product, ProductChanges, ProductId};
use crate::bindings::product_changes::{self, Author};
use crate::http::error::Error;
use crate::http::json::{Fields, Value};
use crate::http::reply::Reply;
use crate::http::{Request, path, query};
use crate::money::Decimal;
use crate::validate::{Checked, Input, amount, boolean, explain_amount, non_empty_string, query_integer};
use serde::Serialize;
use spin_sdk::wasip3::http::types::Method;

#[cfg(test)]
use super::openapi::bodies::{
    AdminErrors, BodyErrors, Failures, MissingErrors, NewProductBody, NoProof, ProductChangesBody, ProductQuery,
    QueryErrors, RequestError,
};

/// The most products on a page, as in the contract.
const MAX_LIMIT: u32 = 1000;
/// The page and its size if the query has none.
const DEFAULT_PAGE: (u32, u32) = (1, 10);

/// Answers a request for `/api/products` (`rest` is empty) or for a path below it.
pub(super) fn route(request: &Request<'_>, rest: &[&str]) -> Result<Reply, Error> {
    match (request.method, rest) {
        (Method::Get | Method::Head, []) => list(request),
        (Method::Post, []) => {
            let by = authorize::require_admin(request)?;
            create(by, request.body)
        }
        (_, [""]) => Err(no_route(request)),
        (Method::Get | Method::Head, [id]) => get(product_id(&path::parameter(id)?)?),
        (Method::Patch, [id]) => {
            let id = path::parameter(id)?;
            let by = authorize::require_admin(request)?;
            update(by, &id, request.body)
        }
        (Method::Delete, [id]) => {
            let id = path::parameter(id)?;
            let by = authorize::require_admin(request)?;
            delete(by, product_id(&id)?)
        }
        (Method::Post, [id, word]) if word.eq_ignore_ascii_case("restore") && !id.is_empty() => {
            let id = path::parameter(id)?;
            let by = authorize::require_admin(request)?;
            restore(by, product_id(&id)?)
        }
        (Method::Get | Method::Head, [id, word]) if word.eq_ignore_ascii_case("history") && !id.is_empty() => {
            let id = path::parameter(id)?;
            authorize::require_admin(request)?;
            history(product_id(&id)?)
        }
        _ => Err(no_route(request)),
    }
}

/// Lists the products that can be ordered.
///
/// Request a page by its number (`page`), or by the product after which it begins (`after`; the first such page is
/// `after=0`). With `after`, the answer has `next` instead of totals, and products that are added or deleted between two
/// requests do not shift the pages. With `deleted=true`, administrators list the deleted products, with `after`.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/products", operation_id = "listProducts", tag = "products", params(ProductQuery),
    security((), ("bearer" = [])),
    responses(
        QueryErrors, Failures,
        (status = 200, description = "One page, empty past the last", body = AnyList),
        (status = 401, description = "Deleted products were requested without a valid token", body = NoProof),
        (status = 403, description = "The user is not an administrator", body = RequestError),
    ),
))]
fn list(request: &Request<'_>) -> Result<Reply, Error> {
    let (page, limit) = match page_query(request.query)? {
        ListRange::Deleted(after, limit) => {
            authorize::require_admin(request)?;
            let found = product_changes::list_deleted(Some(after), limit).map_err(|e| to_http_error(e, None))?;
            let data = found.products.iter().map(View::of).collect();
            return Reply::json(200, &ListAfter { data, next: found.next });
        }
        ListRange::Page(page, limit) => (page, limit),
        ListRange::After(id, limit) => {
            let found = catalog::list_after(Some(id), limit).map_err(|e| to_http_error(e, None))?;
            let data = found.products.iter().map(View::of).collect();
            return Ok(Reply::json(200, &ListAfter { data, next: found.next })?.public());
        }
    };
    let found = catalog::list(page, limit).map_err(|e| to_http_error(e, None))?;
    let pagination =
        Pagination { page, limit, total_pages: found.total, last_page: found.total.div_ceil(limit.into()) };
    Ok(Reply::json(200, &List { data: found.products.iter().map(View::of).collect(), pagination })?.public())
}

/// Creates a product.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/products", operation_id = "createProduct", tag = "products", security(("bearer" = [])),
    request_body = NewProductBody,
    responses(BodyErrors, AdminErrors, Failures, (status = 201, description = "The product", body = View)),
))]
fn create(by: Author, body: &Fields<'_>) -> Result<Reply, Error> {
    let product = new_product(body)?;
    let created = product_changes::create(&by, &product).map_err(|e| to_http_error(e, None))?;
    Reply::json(201, &View::of(&created))
}

/// Returns a product.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/products/{id}", operation_id = "getProduct", tag = "products",
    params(("id" = u64, Path, description = "The product's id")),
    responses(MissingErrors, Failures, (status = 200, description = "The product", body = View)),
))]
fn get(id: ProductId) -> Result<Reply, Error> {
    let product = catalog::get(id).map_err(|e| to_http_error(e, Some(id)))?;
    Ok(Reply::json(200, &View::of(&product))?.public())
}

/// Changes a product's name, its price, or both.
///
/// Existing orders keep the name and the price that they were made with.
#[cfg_attr(test, utoipa::path(
    patch, path = "/api/products/{id}", operation_id = "updateProduct", tag = "products", security(("bearer" = [])),
    params(("id" = u64, Path, description = "The product's id")),
    request_body = ProductChangesBody,
    responses(
        BodyErrors, AdminErrors, MissingErrors, Failures,
        (status = 200, description = "The product as it is now", body = View),
    ),
))]
fn update(by: Author, id: &str, body: &Fields<'_>) -> Result<Reply, Error> {
    // The body is checked before the id, as in the NestJS system.
    let changes = changes(body)?;
    let id = product_id(id)?;
    if changes.name.is_none() && changes.price.is_none() {
        return Err(Error::service(400, "No data provided"));
    }
    let product = product_changes::update(&by, id, &changes).map_err(|e| to_http_error(e, Some(id)))?;
    Reply::json(200, &View::of(&product))
}

/// Takes a product out of the catalogue.
///
/// It cannot be ordered any more; existing orders stay unchanged. It can be restored.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/products/{id}", operation_id = "deleteProduct", tag = "products", security(("bearer" = [])),
    params(("id" = u64, Path, description = "The product's id")),
    responses(
        BodyErrors, AdminErrors, MissingErrors, Failures,
        (status = 200, description = "The product as it was", body = View),
    ),
))]
fn delete(by: Author, id: ProductId) -> Result<Reply, Error> {
    let product = product_changes::delete(&by, id).map_err(|e| to_http_error(e, Some(id)))?;
    Reply::json(200, &View::of(&product))
}

/// Puts a deleted product back into the catalogue, as it was.
///
/// A product that was not deleted stays as it is.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/products/{id}/restore", operation_id = "restoreProduct", tag = "products",
    security(("bearer" = [])),
    params(("id" = u64, Path, description = "The product's id")),
    responses(
        BodyErrors, AdminErrors, MissingErrors, Failures,
        (status = 201, description = "The product as it is now", body = View),
    ),
))]
fn restore(by: Author, id: ProductId) -> Result<Reply, Error> {
    let product = product_changes::restore(&by, id).map_err(|e| to_http_error(e, Some(id)))?;
    Reply::json(201, &View::of(&product))
}

/// Lists who changed a product's price, deleted it or restored it, the last change first. For administrators.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/products/{id}/history", operation_id = "getProductHistory", tag = "products",
    security(("bearer" = [])),
    params(("id" = u64, Path, description = "The product's id")),
    responses(
        AdminErrors, MissingErrors, Failures,
        (status = 200, description = "The last 1000 changes", body = HistoryView),
    ),
))]
fn history(id: ProductId) -> Result<Reply, Error> {
    let changes = product_changes::history(id).map_err(|e| to_http_error(e, Some(id)))?;
    Reply::json(200, &HistoryView::of_product(&changes))
}

/// Turns a refusal of the catalogue into an HTTP error; `id` is the requested product.
fn to_http_error(error: catalog::Error, id: Option<ProductId>) -> Error {
    match (error, id) {
        (catalog::Error::NotFound, Some(id)) => not_found(id),
        (catalog::Error::NotFound, None) => {
            Error::internal("the catalogue answered `not-found` to a call without an id")
        }
        (catalog::Error::Invalid(message), _) => Error::service(400, message),
        (catalog::Error::Unavailable(_), _) => Error::unavailable("The catalogue"),
        (catalog::Error::Internal(detail), _) => Error::internal(&detail),
    }
}

fn not_found(id: impl std::fmt::Display) -> Error {
    Error::service(404, format!("Product #{id} not found"))
}

/// A product's id from its path segment. An id that no product can have (negative, or larger than 64 bits) is not
/// found.
fn product_id(segment: &str) -> Result<ProductId, Error> {
    let digits = segment.strip_prefix('-').unwrap_or(segment);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::bad_request("Validation failed (numeric string is expected)"));
    }
    let significant = digits.trim_start_matches('0');
    match (significant, segment.len() > digits.len()) {
        ("", _) => Ok(0),
        (_, true) => Err(not_found(format_args!("-{significant}"))),
        (_, false) => significant.parse().map_err(|_| not_found(significant)),
    }
}

/// Which products a list returns, and how many.
#[derive(Debug, PartialEq)]
enum ListRange {
    /// The page with this number.
    Page(u32, u32),
    /// The products after this one.
    After(ProductId, u32),
    /// The deleted products after this one.
    Deleted(ProductId, u32),
}

/// Reads `page` or `after`, `limit` and `deleted` of a list.
fn page_query(query: &str) -> Result<ListRange, Error> {
    let (page, limit) = DEFAULT_PAGE;
    if query.is_empty() {
        return Ok(ListRange::Page(page, limit));
    }
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut input = Input::new(&fields, &["page", "limit", "after", "deleted"]);
    let deleted = input.optional("deleted", boolean).unwrap_or(false);
    let page = input.optional("page", query_integer(u32::MAX));
    let limit = input.optional("limit", query_integer(MAX_LIMIT)).unwrap_or(limit);
    if deleted && page.is_some() {
        let text = "page must not be given with deleted".to_owned();
        input.optional("page", |_, _| Err::<(), _>(vec![text.clone()]));
    }
    let after = input.optional("after", |name, value| after(name, value, page.is_some()));
    input.finish(Some(match after {
        id if deleted => ListRange::Deleted(id.unwrap_or(0), limit),
        Some(id) => ListRange::After(id, limit),
        None => ListRange::Page(page.unwrap_or(DEFAULT_PAGE.0), limit),
    }))
}

/// The id of the product after which to continue.
fn after(name: &str, value: Option<&Value>, has_page: bool) -> Checked<ProductId> {
    if has_page {
        return Err(vec![format!("{name} must not be given with page")]);
    }
    match value {
        Some(Value::Text(text)) if text.bytes().all(|b| b.is_ascii_digit()) => {
            // No product's id has more than 63 bits.
            text.parse().ok().filter(|id| i64::try_from(*id).is_ok())
        }
        _ => None,
    }
    .ok_or_else(|| vec![format!("{name} must be the id of a product")])
}

fn new_product(body: &Fields<'_>) -> Result<NewProduct, Error> {
    let mut input = Input::new(body, &["name", "price"]);
    let name = input.required("name", non_empty_string);
    let price = input.required("price", amount);
    let price = input.explain("price", price, explain_amount);
    input.finish(name.zip(price).map(|(name, cents)| NewProduct { name, price: Money { cents } }))
}

fn changes(body: &Fields<'_>) -> Result<ProductChanges, Error> {
    let mut input = Input::new(body, &["name", "price"]);
    let name = input.optional("name", non_empty_string);
    let price = input.optional("price", amount);
    let price = input.explain("price", price, explain_amount).map(|cents| Money { cents });
    input.finish(Some(ProductChanges { name, price }))
}

/// A product.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Product))]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    #[cfg_attr(test, schema(value_type = u64))]
    id: ProductId,
    name: &'a str,
    price: Decimal,
    /// False after it was deleted.
    available: bool,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    created_at: &'a str,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    updated_at: &'a str,
}

impl<'a> View<'a> {
    fn of(product: &'a Product) -> Self {
        View {
            id: product.id,
            name: &product.name,
            price: Decimal(product.price.cents),
            available: product.available,
            created_at: &product.created_at,
            updated_at: &product.updated_at,
        }
    }
}

/// One page of the products that can be ordered, by ascending id.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProductList))]
struct List<'a> {
    data: Vec<View<'a>>,
    pagination: Pagination,
}

/// The products after another one, by ascending id.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProductListAfter))]
struct ListAfter<'a> {
    data: Vec<View<'a>>,
    /// The value of `after` for the next page; null on the last.
    #[cfg_attr(test, schema(required = true, value_type = Option<u64>))]
    next: Option<ProductId>,
}

/// The answer to a list: a page by number, or the products after another one.
#[cfg(test)]
#[allow(dead_code, reason = "only documents the API; never constructed")]
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = ProductLists)]
enum AnyList<'a> {
    Page(List<'a>),
    After(ListAfter<'a>),
}

/// The position of a page of products.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProductPagination))]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: u32,
    limit: u32,
    /// The number of products, not of pages: clients know it under this name.
    total_pages: u64,
    last_page: u64,
}

/// The operations in `openapi.json`.
#[cfg(test)]
#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, get, update, delete, restore, history))]
pub(super) struct Api;

#[cfg(test)]
mod tests;
