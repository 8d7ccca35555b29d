//! Orders for a NestJS system: answers its requests about orders with `store:orders/orders`, and tells
//! `store:orders/payment-events` of its payments.
//!
//! Patterns, data, responses and errors are those of the system's own order service. That service asks nobody who they
//! are, so all calls are made for [`Actor::Anyone`]: who may do what stays for the system's gateway to decide, until the
//! gateway is replaced too.

mod bindings;
mod event;
mod view;

use bindings::orders::{self, Actor, NewItem, NewOrder, Query, Status};
use bindings::requests::Error;
use bindings::{events, requests};
use serde::Deserialize;
use souk_nest::{Paging, exception};

/// The component. It remembers nothing between calls.
struct Orders;

impl requests::Guest for Orders {
    fn handle(pattern: String, data: String) -> Result<String, Error> {
        match pattern.as_str() {
            r#"{"cmd":"create_order"}"# => create(&data),
            r#"{"cmd":"find_all_orders"}"# => list(&data),
            r#"{"cmd":"find_one_order"}"# => get(&data),
            r#"{"cmd":"change_order_status"}"# => change_status(&data),
            unknown => Err(Error::Exception(souk_nest::unknown(unknown))),
        }
    }
}

impl events::Guest for Orders {
    fn handle(pattern: String, data: String) -> Result<(), events::DeliveryError> {
        match pattern.as_str() {
            "payment.succeeded" => event::payment_succeeded(&data),
            unknown => Err(events::DeliveryError::Reject(souk_nest::unknown(unknown))),
        }
    }
}

#[derive(Deserialize)]
struct Create {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_id: u64,
    quantity: u32,
}

#[derive(Deserialize)]
struct Find {
    // Not `flatten`: the messages could not name the field that does not fit.
    #[serde(default, deserialize_with = "some_number")]
    page: Option<f64>,
    #[serde(default, deserialize_with = "some_number")]
    limit: Option<f64>,
    #[serde(default)]
    status: Option<StatusName>,
}

/// A number that is there: `null` is none.
fn some_number<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(input).map(Some)
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Change {
    id: String,
    status: StatusName,
}

/// A status as the system writes it.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum StatusName {
    Pending,
    Paid,
    Delivered,
    Cancelled,
    Refunded,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Pending => Status::Pending,
            StatusName::Paid => Status::Paid,
            StatusName::Delivered => Status::Delivered,
            StatusName::Cancelled => Status::Cancelled,
            StatusName::Refunded => Status::Refunded,
        }
    }
}

fn create(data: &str) -> Result<String, Error> {
    let Create { items } = souk_nest::data(data).map_err(Error::Exception)?;
    let items = items.into_iter().map(|item| NewItem { product_id: item.product_id, quantity: item.quantity });
    let order = NewOrder { items: items.collect(), idempotency_key: None };
    let made = orders::create(&Actor::Anyone, &order).map_err(|error| to_nest_error(error, ""))?;
    Ok(view::checkout(&made))
}

fn list(data: &str) -> Result<String, Error> {
    let Find { page, limit, status } = souk_nest::data(data).map_err(Error::Exception)?;
    let paging = Paging::of(page, limit);
    let window = paging.window().map_err(Error::Exception)?;
    let status = status.map(Status::from);
    let (mut list, mut total) = (Vec::new(), 0);
    for page in window.pages() {
        let query = Query { page, limit: window.size, status };
        let found = orders::list(&Actor::Anyone, query).map_err(|error| to_nest_error(error, ""))?;
        total = found.total;
        list.extend(found.orders);
    }
    Ok(view::list(&window.cut(list), total, &paging))
}

fn get(data: &str) -> Result<String, Error> {
    let Id { id } = souk_nest::data(data).map_err(Error::Exception)?;
    let order = orders::get(&Actor::Anyone, &id).map_err(|error| to_nest_error(error, &id))?;
    Ok(view::whole(&order))
}

fn change_status(data: &str) -> Result<String, Error> {
    let Change { id, status } = souk_nest::data(data).map_err(Error::Exception)?;
    let changed = orders::change_status(&Actor::Anyone, &id, status.into());
    Ok(view::line(&changed.map_err(|error| to_nest_error(error, &id))?))
}

/// What the orders refuse; `id` is the order that was asked for.
fn to_nest_error(error: orders::Error, id: &str) -> Error {
    let (status, text) = match error {
        orders::Error::NotFound => (404, format!("Order with id #{id} not found")),
        orders::Error::Invalid(text) => (400, text),
        orders::Error::UnknownProducts(_) => (400, "Some products were not found".to_owned()),
        orders::Error::Forbidden(text) => (403, text),
        orders::Error::Conflict(text) => (409, text),
        orders::Error::KeyReused => (422, "The key was used for another order".to_owned()),
        orders::Error::TooManyOpen(text) => (429, text),
        orders::Error::PaymentUnavailable(order) => {
            (503, format!("Order {} is stored and cannot be paid yet: {}", order.order_id, order.message))
        }
        orders::Error::Unavailable(text) => return Error::Unavailable(text),
        orders::Error::Internal(detail) => {
            eprintln!("the orders failed: {detail}");
            (500, "Internal server error".to_owned())
        }
    };
    Error::Exception(exception(status, text))
}
