//! Orders in the API's form, with the names and the order of keys that clients know.

use super::input::name;
use crate::bindings::orders::{Checkout, DisputeState, Found, Item, Order, Page, PaymentSession, Query};
use crate::bindings::refunds::{Refund, RefundState};
use crate::money::Decimal;
use crate::routes::customers::{CustomerView, Customers};
use serde::Serialize;

#[cfg(test)]
use crate::routes::openapi::bodies::{DisputeName, RefundStateName, StatusName};

/// An order. Lists and the answer to a change of status leave out its lines and the state of its payment.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Order))]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView<'a> {
    id: &'a str,
    total_amount: Decimal,
    /// The sum of the quantities of all lines.
    total_items: u64,
    #[cfg_attr(test, schema(value_type = StatusName))]
    status: &'static str,
    paid: bool,
    /// When it was paid; stays after a refund.
    #[cfg_attr(test, schema(required = true, value_type = Option<String>, format = DateTime))]
    paid_at: Option<&'a str>,
    /// The charge that paid the order.
    #[cfg_attr(test, schema(required = true))]
    stripe_charge_id: Option<&'a str>,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    created_at: &'a str,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    updated_at: &'a str,
    /// The customer's receipt, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false, value_type = Option<String>, format = "uri"))]
    receipt_url: Option<&'a str>,
    /// How much was refunded, if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    refunded_amount: Option<Decimal>,
    /// How much must be refunded: a second payment, or one for a cancelled order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    refund_due_amount: Option<Decimal>,
    /// Whether a payment is disputed at the customer's bank: `OPEN`, `WON` by the store, or `LOST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false, value_type = Option<DisputeName>))]
    dispute: Option<&'static str>,
    /// Who made the order, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    customer: Option<CustomerView<'a>>,
    /// Its lines; lists and changes of status leave them out.
    #[cfg_attr(test, schema(nullable = false))]
    #[serde(rename = "OrderItem", skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemView<'a>>>,
}

/// One line of an order, with the name and the price at the time of the order.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OrderItem))]
#[serde(rename_all = "camelCase")]
struct ItemView<'a> {
    price: Decimal,
    quantity: u32,
    product_id: u64,
    name: &'a str,
}

/// An order, and where to pay for it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Checkout))]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckoutView<'a> {
    order: OrderView<'a>,
    payment_session: SessionView<'a>,
}

/// Where to pay for an order, and where the customer returns to.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = PaymentSession))]
#[serde(rename_all = "camelCase")]
struct SessionView<'a> {
    cancel_url: &'a str,
    success_url: &'a str,
    url: &'a str,
}

/// One page of orders, the newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OrderList))]
pub(super) struct List<'a> {
    data: Vec<OrderView<'a>>,
    pagination: Pagination,
}

/// The result of a search: one page, without totals.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FoundOrders))]
pub(super) struct FoundView<'a> {
    data: Vec<OrderView<'a>>,
    /// The value of `after` for the next page; null on the last.
    #[cfg_attr(test, schema(required = true))]
    next: Option<&'a str>,
}

/// A refund of one payment.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Refund))]
#[serde(rename_all = "camelCase")]
pub(super) struct RefundView<'a> {
    #[cfg_attr(test, schema(value_type = String, format = "uuid"))]
    id: &'a str,
    amount: Decimal,
    /// The state of the refund; `REQUESTED` until the payment provider has accepted it.
    #[cfg_attr(test, schema(value_type = RefundStateName))]
    state: &'static str,
    /// The charge that is refunded.
    stripe_charge_id: &'a str,
    /// Why the refund failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    failure: Option<&'a str>,
    /// The id of the administrator who asked for it.
    #[cfg_attr(test, schema(required = true))]
    asked_by: Option<&'a str>,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    created_at: &'a str,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    updated_at: &'a str,
}

/// The refunds of an order, or those of one request.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Refunds))]
pub(super) struct RefundsView<'a> {
    data: Vec<RefundView<'a>>,
}

impl<'a> RefundsView<'a> {
    /// The view of these refunds.
    pub(super) fn of(refunds: &'a [Refund]) -> Self {
        let view = |refund: &'a Refund| RefundView {
            id: &refund.id,
            amount: Decimal(refund.amount.cents),
            state: match refund.state {
                RefundState::Requested => "REQUESTED",
                RefundState::Sent => "SENT",
                RefundState::Succeeded => "SUCCEEDED",
                RefundState::Failed => "FAILED",
            },
            stripe_charge_id: &refund.charge_id,
            failure: refund.failure.as_deref(),
            asked_by: refund.asked_by.as_deref(),
            created_at: &refund.created_at,
            updated_at: &refund.updated_at,
        };
        RefundsView { data: refunds.iter().map(view).collect() }
    }
}

/// The state of a dispute in the API's form.
pub(super) fn dispute(state: DisputeState) -> &'static str {
    match state {
        DisputeState::Open => "OPEN",
        DisputeState::Won => "WON",
        DisputeState::Lost => "LOST",
    }
}

/// The answer to a list: a page by number, or the result of a search.
#[cfg(test)]
#[allow(dead_code, reason = "only documents the API; never constructed")]
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = OrderLists)]
pub(super) enum AnyList<'a> {
    Page(List<'a>),
    Found(FoundView<'a>),
}

/// The position of a page of orders.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OrderPagination))]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: u32,
    limit: u32,
    /// The number of orders.
    total_records: u64,
    last_page: u64,
}

impl<'a> OrderView<'a> {
    /// An order with all fields.
    pub(super) fn whole(order: &'a Order) -> Self {
        let unless_zero = |cents| Some(Decimal(cents)).filter(|_| cents > 0);
        OrderView {
            receipt_url: order.receipt_url.as_deref(),
            refunded_amount: unless_zero(order.refunded_cents),
            refund_due_amount: unless_zero(order.refund_due_cents),
            dispute: order.dispute.map(dispute),
            items: Some(order.items.iter().map(ItemView::of).collect()),
            ..OrderView::summary(order)
        }
    }

    /// An order in a list.
    pub(super) fn summary(order: &'a Order) -> Self {
        OrderView {
            id: &order.id,
            total_amount: Decimal(order.total.cents),
            total_items: order.total_items,
            status: name(order.status),
            paid: order.paid_at.is_some(),
            paid_at: order.paid_at.as_deref(),
            stripe_charge_id: order.charge_id.as_deref(),
            created_at: &order.created_at,
            updated_at: &order.updated_at,
            receipt_url: None,
            refunded_amount: None,
            refund_due_amount: None,
            dispute: None,
            customer: None,
            items: None,
        }
    }

    /// Adds its customer, for callers who may see it.
    pub(super) fn with_customer(self, order: &'a Order, customers: &'a Customers) -> Self {
        OrderView { customer: customers.view(order.owner.as_deref()), ..self }
    }

    /// An order in a search result: with refunds and disputes, because the search may be about those.
    fn found(order: &'a Order) -> Self {
        OrderView { items: None, receipt_url: None, ..OrderView::whole(order) }
    }
}

impl<'a> ItemView<'a> {
    fn of(item: &'a Item) -> Self {
        ItemView {
            price: Decimal(item.unit_cents),
            quantity: item.quantity,
            product_id: item.product_id,
            name: &item.name,
        }
    }
}

impl<'a> CheckoutView<'a> {
    pub(super) fn of(checkout: &'a Checkout) -> Self {
        let PaymentSession { url, success_url, cancel_url } = &checkout.payment_session;
        CheckoutView {
            order: OrderView::whole(&checkout.order),
            payment_session: SessionView { cancel_url, success_url, url },
        }
    }
}

impl<'a> FoundView<'a> {
    /// The view of a search result.
    pub(super) fn of(found: &'a Found, customers: &'a Customers) -> Self {
        let view = |order: &'a Order| OrderView::found(order).with_customer(order, customers);
        FoundView { data: found.orders.iter().map(view).collect(), next: found.next.as_deref() }
    }
}

impl<'a> List<'a> {
    /// The page for `query`.
    pub(super) fn of(found: &'a Page, query: &Query, customers: &'a Customers) -> Self {
        List {
            data: found.orders.iter().map(|order| OrderView::summary(order).with_customer(order, customers)).collect(),
            pagination: Pagination {
                page: query.page,
                limit: query.limit,
                total_records: found.total,
                last_page: found.total.div_ceil(query.limit.into()),
            },
        }
    }
}
