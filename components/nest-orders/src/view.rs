//! Orders as the system's services know them, with its names and its order of keys.

use crate::bindings::orders::{Checkout, Item, Order, Status};
use serde::Serialize;
use souk_nest::{Decimal, Number, Paging};

/// An order; lists and changes of status leave out what is bought.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderView<'a> {
    id: &'a str,
    total_amount: Decimal,
    total_items: u64,
    status: &'static str,
    paid: bool,
    paid_at: Option<&'a str>,
    stripe_charge_id: Option<&'a str>,
    created_at: &'a str,
    updated_at: &'a str,
    #[serde(rename = "OrderItem", skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemView<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemView<'a> {
    price: Decimal,
    quantity: u32,
    product_id: u64,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckoutView<'a> {
    order: OrderView<'a>,
    payment_session: SessionView<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView<'a> {
    cancel_url: &'a str,
    success_url: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    data: Vec<OrderView<'a>>,
    pagination: Pagination,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: Number,
    limit: Number,
    total_records: u64,
    last_page: u64,
}

/// An order with what is bought.
pub(crate) fn whole(order: &Order) -> String {
    souk_nest::json(&with_items(order))
}

/// An order without it.
pub(crate) fn line(order: &Order) -> String {
    souk_nest::json(&without_items(order))
}

/// One page of orders, of which there are `total`.
pub(crate) fn list(orders: &[Order], total: u64, paging: &Paging) -> String {
    let (page, limit) = (Number(paging.page), Number(paging.limit));
    let pagination = Pagination { page, limit, total_records: total, last_page: paging.last_page(total) };
    souk_nest::json(&List { data: orders.iter().map(without_items).collect(), pagination })
}

/// An order, and where to pay it.
pub(crate) fn checkout(made: &Checkout) -> String {
    let session = &made.payment_session;
    let payment_session =
        SessionView { cancel_url: &session.cancel_url, success_url: &session.success_url, url: &session.url };
    souk_nest::json(&CheckoutView { order: with_items(&made.order), payment_session })
}

fn with_items(order: &Order) -> OrderView<'_> {
    OrderView { items: Some(order.items.iter().map(item).collect()), ..without_items(order) }
}

fn without_items(order: &Order) -> OrderView<'_> {
    OrderView {
        id: &order.id,
        total_amount: Decimal(order.total.cents),
        total_items: order.total_items,
        status: match order.status {
            Status::Pending => "PENDING",
            Status::Paid => "PAID",
            Status::Delivered => "DELIVERED",
            Status::Cancelled => "CANCELLED",
            Status::Refunded => "REFUNDED",
        },
        paid: order.paid_at.is_some(),
        paid_at: order.paid_at.as_deref(),
        stripe_charge_id: order.charge_id.as_deref(),
        created_at: &order.created_at,
        updated_at: &order.updated_at,
        items: None,
    }
}

fn item(item: &Item) -> ItemView<'_> {
    let Item { product_id, name, unit_cents, quantity } = item;
    ItemView { price: Decimal(*unit_cents), quantity: *quantity, product_id: *product_id, name }
}
