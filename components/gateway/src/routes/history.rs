//! Who changed what, in the API's form, for orders and products.

use crate::bindings::order_history as orders;
use crate::bindings::product_changes as products;
use crate::money::Decimal;
use serde::Serialize;

#[cfg(test)]
use super::openapi::bodies::ChangedName;

/// One change.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Change))]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeView<'a> {
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    at: &'a str,
    /// A user's id, `operator`, `schedule`, or the id of an event of the payment provider; null if unknown.
    #[cfg_attr(test, schema(required = true))]
    by: Option<&'a str>,
    /// The `x-request-id` of the request that made the change, as in the log.
    #[cfg_attr(test, schema(required = true))]
    request_id: Option<&'a str>,
    #[cfg_attr(test, schema(value_type = ChangedName))]
    what: &'static str,
    /// The id of the refund that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    subject: Option<&'a str>,
    /// The old value; null if there was none.
    #[cfg_attr(test, schema(required = true))]
    from: Option<State<'a>>,
    /// The new value; null if there is none.
    #[cfg_attr(test, schema(required = true))]
    to: Option<State<'a>>,
}

/// An old or new value: an amount, a boolean, or a word.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ChangedState))]
#[serde(untagged)]
enum State<'a> {
    Amount(Decimal),
    Truth(bool),
    Word(&'a str),
}

/// The changes of an order or a product.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = History))]
pub(super) struct HistoryView<'a> {
    data: Vec<ChangeView<'a>>,
}

fn word(text: &str) -> State<'_> {
    State::Word(text)
}

fn amount(text: &str) -> State<'_> {
    text.parse().map_or(State::Word(text), |cents| State::Amount(Decimal(cents)))
}

fn boolean(text: &str) -> State<'_> {
    text.parse().map_or(State::Word(text), State::Truth)
}

impl<'a> HistoryView<'a> {
    /// Of an order.
    pub(super) fn of_order(changes: &'a [orders::Change]) -> Self {
        let view = |change: &'a orders::Change| {
            let (what, state): (_, fn(&str) -> State<'_>) = match change.what {
                orders::What::Status => ("STATUS", word),
                orders::What::Charge => ("CHARGE", word),
                orders::What::RefundedCents => ("REFUNDED_AMOUNT", amount),
                orders::What::RefundDueCents => ("REFUND_DUE_AMOUNT", amount),
                orders::What::Dispute => ("DISPUTE", word),
                orders::What::Refund => ("REFUND", word),
            };
            ChangeView {
                at: &change.at,
                by: change.by.as_deref(),
                request_id: change.trace.as_deref(),
                what,
                subject: change.subject.as_deref(),
                from: change.from.as_deref().map(state),
                to: change.to.as_deref().map(state),
            }
        };
        HistoryView { data: changes.iter().map(view).collect() }
    }

    /// Of a product.
    pub(super) fn of_product(changes: &'a [products::Change]) -> Self {
        let view = |change: &'a products::Change| {
            let (what, state): (_, fn(&str) -> State<'_>) = match change.what {
                products::What::Price => ("PRICE", amount),
                products::What::Available => ("AVAILABLE", boolean),
            };
            ChangeView {
                at: &change.at,
                by: change.by.as_deref(),
                request_id: change.trace.as_deref(),
                what,
                subject: None,
                from: change.from.as_deref().map(state),
                to: Some(state(&change.to)),
            }
        };
        HistoryView { data: changes.iter().map(view).collect() }
    }
}
