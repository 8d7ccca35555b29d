//! `/api/orders`: the orders. Every route needs a login. The order service decides which orders a user sees, and what
//! they can do with them.

mod export;
mod input;
mod view;

use super::customers::Customers;
use super::history::HistoryView;
use super::no_route;
use crate::authorize::Caller;
use crate::bindings::accounts::Role;
use crate::bindings::order_history;
use crate::bindings::orders::{self, Actor, Order, OrderId, Query, Status};
use crate::bindings::refunds;
use crate::http::error::Error;
use crate::http::json::Fields;
use crate::http::reply::Reply;
use crate::http::{Request, path};
use input::ListQuery;
use spin_sdk::wasip3::http::types::Method;
use view::{CheckoutView, FoundView, List, OrderView, RefundsView};

#[cfg(test)]
use view::AnyList;

#[cfg(test)]
use super::openapi::bodies::{
    BodyErrors, ConflictErrors, Failures, IdempotencyKeyHeader, LoginErrors, MissingErrors, NewOrderBody,
    NewRefundBody, NewStatusBody, OrderFilter, OrderPage, PageQuery, PaymentErrors, QueryErrors, RequestError,
    ServiceError, StatusName,
};

/// Answers a request for `/api/orders` (`rest` is empty) or for a path below it.
pub(super) fn route(request: &Request<'_>, rest: &[&str]) -> Result<Reply, Error> {
    match (request.method, rest) {
        (Method::Get | Method::Head, []) => {
            let actor = actor(request)?;
            list(actor, request.query)
        }
        (Method::Post, []) => {
            let actor = actor(request)?;
            create(actor, request.body, request.header("idempotency-key"))
        }
        (Method::Get | Method::Head, [word]) if word.eq_ignore_ascii_case("export") => {
            let actor = actor(request)?;
            export(actor, request.query)
        }
        (Method::Get | Method::Head, [status]) if !status.is_empty() => {
            let status = path::parameter(status)?;
            let actor = actor(request)?;
            list_by_status(actor, request.query, &status)
        }
        (Method::Patch, [id]) if !id.is_empty() => {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            change_status(actor, &id, request.body)
        }
        (Method::Get | Method::Head, [word, id]) if word.eq_ignore_ascii_case("id") && !id.is_empty() => {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            get(actor, &id)
        }
        (Method::Get | Method::Head, [word, id, what])
            if word.eq_ignore_ascii_case("id") && what.eq_ignore_ascii_case("history") && !id.is_empty() =>
        {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            history(actor, &id)
        }
        (Method::Post, [id, word]) if word.eq_ignore_ascii_case("pay") && !id.is_empty() => {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            pay(actor, &id)
        }
        (Method::Get | Method::Head, [id, word]) if word.eq_ignore_ascii_case("refunds") && !id.is_empty() => {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            list_refunds(actor, &id)
        }
        (Method::Post, [id, word]) if word.eq_ignore_ascii_case("refunds") && !id.is_empty() => {
            let id = path::parameter(id)?;
            let actor = actor(request)?;
            give_back(actor, &id, request.body, request.header("idempotency-key"))
        }
        _ => Err(no_route(request)),
    }
}

/// The actor on whose behalf the service is called.
fn actor(request: &Request<'_>) -> Result<Actor, Error> {
    Ok(match Caller::of(request)? {
        Caller::Anyone => Actor::Anyone,
        Caller::User(user) if user.role == Role::Admin => Actor::Admin(user.id),
        Caller::User(user) => Actor::Customer(user.id),
    })
}

/// Lists orders, the newest first: the user's own ones, or all for administrators.
///
/// With a filter or with `after`, a page begins after an order: use `next` of the page before.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders", operation_id = "listOrders", tag = "orders", security(("bearer" = [])),
    params(OrderPage, OrderFilter),
    responses(
        LoginErrors, QueryErrors, Failures,
        (status = 200, description = "One page, empty past the last; without the orders' lines", body = AnyList),
    ),
))]
fn list(actor: Actor, query: &str) -> Result<Reply, Error> {
    match input::query(query)? {
        ListQuery::Page(query) => show(actor, query),
        ListQuery::Search(search) => {
            let found = orders::find(&actor, &search).map_err(|e| to_http_error(e, None))?;
            let customers = customers(&actor, &found.orders)?;
            Reply::json(200, &FoundView::of(&found, &customers))
        }
    }
}

/// Exports the orders that match the filters as CSV, the oldest first. For administrators.
///
/// A table has at most about 20,000 orders. If there are more, if the time runs out, or if a service does not answer,
/// the last line begins with `# incomplete` and has the `after` with which to continue. No text in the table is a
/// formula.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders/export", operation_id = "exportOrders", tag = "orders", security(("bearer" = [])),
    params(OrderFilter),
    responses(
        LoginErrors, QueryErrors, Failures,
        (status = 200, description = "A line for each order", content_type = "text/csv", body = String),
        (status = 403, description = "The user is not an administrator", body = RequestError),
    ),
))]
fn export(actor: Actor, query: &str) -> Result<Reply, Error> {
    if matches!(actor, Actor::Customer(_)) {
        return Err(Error::forbidden().hint("an administrator may do this"));
    }
    export::reply(&actor, input::export(query)?)
}

/// Lists the orders that have one status, the newest first.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders/{which}", operation_id = "listOrdersByStatus", tag = "orders", security(("bearer" = [])),
    params(("which" = StatusName, Path, description = "The status of the orders"), PageQuery),
    responses(
        LoginErrors, QueryErrors, Failures,
        (status = 200, description = "One page, empty past the last; without the orders' lines", body = List),
    ),
))]
fn list_by_status(actor: Actor, query: &str, status: &str) -> Result<Reply, Error> {
    show(actor, input::query_by_status(query, status)?)
}

fn show(actor: Actor, query: Query) -> Result<Reply, Error> {
    let found = orders::list(&actor, query).map_err(|e| to_http_error(e, None))?;
    let customers = customers(&actor, &found.orders)?;
    Reply::json(200, &List::of(&found, &query, &customers))
}

/// Creates an order, and opens its payment page.
///
/// The order has the catalogue's current prices. With an `Idempotency-Key` the same request can be sent again within 24
/// hours and gets the same order; a key that was used for another order is refused.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/orders", operation_id = "createOrder", tag = "orders", security(("bearer" = [])),
    params(IdempotencyKeyHeader),
    request_body = NewOrderBody,
    responses(
        BodyErrors, LoginErrors, PaymentErrors,
        (status = 201, description = "The order, and where to pay for it", body = CheckoutView),
        (status = 422, description = "The key was used for another order", body = ServiceError),
        (status = 429, description = "Too many orders of the user wait for their payment", body = ServiceError),
    ),
))]
fn create(actor: Actor, body: &Fields<'_>, idempotency_key: Option<String>) -> Result<Reply, Error> {
    let order = input::new_order(body, idempotency_key)?;
    let checkout = orders::create(&actor, &order).map_err(|e| to_http_error(e, None))?;
    Reply::json(201, &CheckoutView::of(&checkout))
}

/// Opens the payment page of a pending order.
///
/// It is the same page as before, or a new one if that one has ended.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/orders/{id}/pay", operation_id = "payOrder", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, format = "uuid", description = "The order's id, in lower case")),
    responses(
        BodyErrors, LoginErrors, MissingErrors, ConflictErrors, PaymentErrors,
        (status = 201, description = "The order, and where to pay for it", body = CheckoutView),
    ),
))]
fn pay(actor: Actor, id: &str) -> Result<Reply, Error> {
    let id = order_id(id)?;
    let checkout = orders::pay(&actor, &id).map_err(|e| to_http_error(e, Some(&id)))?;
    Reply::json(201, &CheckoutView::of(&checkout))
}

/// Returns an order with its lines and its receipt.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders/id/{id}", operation_id = "getOrder", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, format = "uuid", description = "The order's id, in lower case")),
    responses(LoginErrors, MissingErrors, Failures, (status = 200, description = "The order", body = OrderView)),
))]
fn get(actor: Actor, id: &str) -> Result<Reply, Error> {
    let id = order_id(id)?;
    let order = orders::get(&actor, &id).map_err(|e| to_http_error(e, Some(&id)))?;
    let customers = customers(&actor, std::slice::from_ref(&order))?;
    Reply::json(200, &OrderView::whole(&order).with_customer(&order, &customers))
}

/// Lists who changed an order and its refunds, the first change first. For administrators.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders/id/{id}/history", operation_id = "getOrderHistory", tag = "orders",
    security(("bearer" = [])),
    params(("id" = String, Path, format = "uuid", description = "The order's id, in lower case")),
    responses(
        LoginErrors, MissingErrors, Failures,
        (status = 200, description = "The first 1000 changes", body = HistoryView),
        (status = 403, description = "The user is not an administrator", body = ServiceError),
    ),
))]
fn history(actor: Actor, id: &str) -> Result<Reply, Error> {
    let id = order_id(id)?;
    let changes = order_history::list(&actor, &id).map_err(|e| to_http_error(e, Some(&id)))?;
    Reply::json(200, &HistoryView::of_order(&changes))
}

/// Marks an order as delivered, or cancels it.
///
/// Administrators mark paid orders as delivered; customers cancel their own unpaid orders. Setting the current status
/// changes nothing.
#[cfg_attr(test, utoipa::path(
    patch, path = "/api/orders/{which}", operation_id = "changeOrderStatus", tag = "orders", security(("bearer" = [])),
    params(("which" = String, Path, format = "uuid", description = "The order's id, in lower case")),
    request_body = NewStatusBody,
    responses(
        BodyErrors, LoginErrors, MissingErrors, ConflictErrors, Failures,
        (status = 200, description = "The order, without its lines", body = OrderView),
    ),
))]
fn change_status(actor: Actor, id: &str, body: &Fields<'_>) -> Result<Reply, Error> {
    // The body is checked before the id, as in the NestJS system.
    let status: Status = input::new_status(body)?;
    let id = order_id(id)?;
    let order = orders::change_status(&actor, &id, status).map_err(|e| to_http_error(e, Some(&id)))?;
    Reply::json(200, &OrderView::summary(&order))
}

/// Refunds an order in part or in full.
///
/// For administrators. Superfluous payments are refunded first, so there may be refunds of several payments. Refunds
/// are stored before the payment provider is asked; if it cannot be reached, a refund stays `REQUESTED`, and the same
/// request asks again. The outcome comes with the provider's events.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/orders/{id}/refunds", operation_id = "refundOrder", tag = "orders", security(("bearer" = [])),
    params(
        ("id" = String, Path, format = "uuid", description = "The order's id, in lower case"),
        IdempotencyKeyHeader
    ),
    request_body = NewRefundBody,
    responses(
        BodyErrors, LoginErrors, MissingErrors, ConflictErrors, Failures,
        (status = 201, description = "The refunds", body = RefundsView),
        (status = 422, description = "The key was used for another refund of the order", body = ServiceError),
    ),
))]
fn give_back(actor: Actor, id: &str, body: &Fields<'_>, idempotency_key: Option<String>) -> Result<Reply, Error> {
    let refund = input::new_refund(body, idempotency_key)?;
    let id = order_id(id)?;
    let made = refunds::give_back(&actor, &id, &refund).map_err(|e| to_http_error(e, Some(&id)))?;
    Reply::json(201, &RefundsView::of(&made))
}

/// Lists the refunds of an order, the first one first. For administrators.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/orders/{id}/refunds", operation_id = "listRefunds", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, format = "uuid", description = "The order's id, in lower case")),
    responses(
        LoginErrors, MissingErrors, Failures,
        (status = 200, description = "The refunds", body = RefundsView),
        (status = 403, description = "The user is not an administrator", body = ServiceError),
    ),
))]
fn list_refunds(actor: Actor, id: &str) -> Result<Reply, Error> {
    let id = order_id(id)?;
    let found = refunds::list(&actor, &id).map_err(|e| to_http_error(e, Some(&id)))?;
    Reply::json(200, &RefundsView::of(&found))
}

/// The customers who made these orders, if the actor is an administrator.
fn customers(actor: &Actor, orders: &[Order]) -> Result<Customers, Error> {
    match actor {
        Actor::Admin(_) => Customers::find(orders.iter().filter_map(|order| order.owner.as_deref())),
        Actor::Customer(_) | Actor::Anyone => Ok(Customers::default()),
    }
}

/// An order's id from its path segment: a UUID. No order's id is in upper case.
fn order_id(segment: &str) -> Result<OrderId, Error> {
    let groups: Vec<&str> = segment.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|b| b.is_ascii_hexdigit());
    if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) || !groups.iter().all(is_hex) {
        return Err(Error::bad_request("Validation failed (uuid is expected)"));
    }
    if segment.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(not_found(segment));
    }
    Ok(segment.to_owned())
}

fn not_found(id: &str) -> Error {
    Error::service(404, format!("Order with id #{id} not found"))
}

/// The recorded message, with a hint that names the products.
fn unknown_products(ids: &[u64]) -> Error {
    let error = Error::service(400, "Some products were not found");
    match ids {
        [] => error,
        [id] => error.hint(format!("there is no product {id} that can be ordered")),
        ids => {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            error.hint(format!("there are no products {} that can be ordered", ids.join(", ")))
        }
    }
}

/// Turns a refusal of the service into an HTTP error; `id` is the requested order.
fn to_http_error(error: orders::Error, id: Option<&str>) -> Error {
    match (error, id) {
        (orders::Error::NotFound, Some(id)) => not_found(id),
        (orders::Error::NotFound, None) => {
            Error::internal("the order service answered `not-found` to a call without an id")
        }
        (orders::Error::Invalid(message), _) => Error::service(400, message),
        (orders::Error::UnknownProducts(ids), _) => unknown_products(&ids),
        (orders::Error::Forbidden(message), _) => Error::service(403, message),
        (orders::Error::Conflict(message), _) => Error::service(409, message),
        (orders::Error::KeyReused, _) => Error::service(422, "Idempotency-Key was used for another order"),
        (orders::Error::PaymentUnavailable(order), _) => {
            let id = order.order_id;
            let text = format!(
                "Order {id} is stored and cannot be paid yet: {}. POST /api/orders/{id}/pay opens its payment page, and so \
                 does the same request with its Idempotency-Key",
                order.message.trim_end_matches('.')
            );
            Error::remote(503, text).with("orderId", id)
        }
        (orders::Error::TooManyOpen(message), _) => Error::service(429, message),
        (orders::Error::Unavailable(_), _) => Error::unavailable("The order service"),
        (orders::Error::Internal(detail), _) => Error::internal(&detail),
    }
}

/// The operations in `openapi.json`.
#[cfg(test)]
#[derive(utoipa::OpenApi)]
#[openapi(paths(list, export, list_by_status, create, get, change_status, pay, give_back, list_refunds, history))]
pub(super) struct Api;

#[cfg(test)]
mod tests;
