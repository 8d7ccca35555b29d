//! Checks what clients send about orders (bodies, queries and the idempotency key), and converts it to the contract's
//! types.
//!
//! The lines of an order are nested, and class-validator's messages about nested values depend on the kind of value;
//! [`items`] produces the same messages.

use crate::bindings::orders::{Filter, NewItem, NewOrder, Query, Search, Sort, Status};
use crate::bindings::refunds::NewRefund;
use crate::http::error::Error;
use crate::http::json::{Fields, Value};
use crate::http::query;
use crate::validate::{Checked, Input, amount, boolean, explain_amount, json_integer, query_integer};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

/// How many orders are read at once.
const EXPORT_PAGE_SIZE: u32 = 500;

/// The most lines of an order, as in the contract.
const MAX_ITEMS: usize = 1000;
/// The highest quantity of a line, as in the contract.
const MAX_QUANTITY: u64 = 1_000_000;
/// The highest id of a product that clients can write: JavaScript rounds higher ones.
const MAX_PRODUCT_ID: u64 = (1 << 53) - 1;
/// The most orders on a page, as in the contract.
const MAX_LIMIT: u32 = 1000;
/// The orders on a page if the query has no limit.
const DEFAULT_LIMIT: u32 = 10;
/// The most characters of an idempotency key, as in the contract.
const MAX_KEY_CHARS: usize = 255;

/// The statuses that a client may send. No order becomes PENDING again, but the service accepts PENDING for an order
/// that is pending already.
const SETTABLE: &[Status] = &[Status::Pending, Status::Delivered, Status::Cancelled];
/// The statuses of an order.
const ALL: &[Status] = &[Status::Pending, Status::Paid, Status::Delivered, Status::Cancelled, Status::Refunded];

/// A status as the API writes it.
pub(super) fn name(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Paid => "PAID",
        Status::Delivered => "DELIVERED",
        Status::Cancelled => "CANCELLED",
        Status::Refunded => "REFUNDED",
    }
}

/// The body of a new order.
pub(super) fn new_order(body: &Fields<'_>, idempotency_key: Option<String>) -> Result<NewOrder, Error> {
    let mut input = Input::new(body, &["items"]);
    let items = input.required("items", items);
    let items = input.finish(items)?;
    check_key(idempotency_key.as_deref())?;
    Ok(NewOrder { items, idempotency_key })
}

fn check_key(key: Option<&str>) -> Result<(), Error> {
    match key.is_none_or(is_key) {
        true => Ok(()),
        false => {
            Err(Error::bad_request(format!("Idempotency-Key must be 1 to {MAX_KEY_CHARS} visible ASCII characters")))
        }
    }
}

/// The body of a refund. Without an amount, it refunds everything that is left.
pub(super) fn new_refund(body: &Fields<'_>, idempotency_key: Option<String>) -> Result<NewRefund, Error> {
    let mut input = Input::new(body, &["amount"]);
    let cents = input.optional("amount", positive_amount);
    let cents = input.explain("amount", cents, explain_amount);
    input.finish(Some(()))?;
    check_key(idempotency_key.as_deref())?;
    if cents.is_some() && idempotency_key.is_none() {
        let text = "A partial refund needs an Idempotency-Key, so that a repeated request does not refund twice";
        return Err(Error::bad_request(text));
    }
    Ok(NewRefund { cents, idempotency_key })
}

/// An amount above zero. Returns cents.
fn positive_amount(name: &str, value: Option<&Value>) -> Checked<u64> {
    match amount(name, value)? {
        0 => Err(vec![format!("{name} must be a positive number")]),
        cents => Ok(cents),
    }
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// The lines of an order.
fn items(name: &str, value: Option<&Value>) -> Checked<Vec<NewItem>> {
    let too_few = || format!("{name} must contain at least 1 elements");
    let no_list = || format!("{name} must be an array");
    let text = match value {
        Some(Value::Nested(text)) => text,
        None => return Err(vec![too_few(), no_list()]),
        Some(_) => return Err(vec![too_few(), no_list(), not_nested(name)]),
    };
    if !text.starts_with('[') {
        // An object is checked as if it were a line; messages about its fields replace the message that it is not an
        // array.
        return Err(item(name, text).err().unwrap_or_else(|| vec![too_few(), no_list()]));
    }
    let list = Fields::parse(text).map_err(|_| not_unicode(name))?;
    match list.values().len() {
        0 => return Err(vec![too_few()]),
        // A longer list is refused without reading its elements.
        n if n > MAX_ITEMS => return Err(vec![format!("{name} must contain no more than {MAX_ITEMS} elements")]),
        _ => {}
    }
    let mut items = Vec::with_capacity(list.values().len());
    let mut messages = Vec::new();
    for (i, value) in list.values().enumerate() {
        match value {
            Value::Nested(text) if text.starts_with('[') => messages.push(format!("{name}.{i} must be an object")),
            Value::Nested(text) => match item(&format!("{name}.{i}"), text) {
                Ok(item) => items.push(item),
                Err(more) => messages.extend(more),
            },
            // class-validator omits the position in this message.
            _ => messages.push(format!("{name}.{}", not_nested(name))),
        }
    }
    if messages.is_empty() { Ok(items) } else { Err(messages) }
}

fn not_nested(name: &str) -> String {
    format!("each value in nested property {name} must be either object or array")
}

fn not_unicode(name: &str) -> Vec<String> {
    vec![format!("{name} must be valid Unicode")]
}

/// One line of an order, at `position`.
fn item(position: &str, text: &str) -> Checked<NewItem> {
    let fields = Fields::parse(text).map_err(|_| not_unicode(position))?;
    let mut input = Input::new(&fields, &["productId", "quantity"]);
    let product_id = input.required("productId", json_integer(MAX_PRODUCT_ID));
    let quantity = input.required("quantity", json_integer(MAX_QUANTITY));
    // This always fits: `MAX_QUANTITY` is below 2^32.
    let quantity = quantity.and_then(|quantity| u32::try_from(quantity).ok());
    let item = product_id.zip(quantity).map(|(product_id, quantity)| NewItem { product_id, quantity });
    let with_position =
        |messages: Vec<String>| messages.iter().map(|message| format!("{position}.{message}")).collect();
    input.check(item).map_err(with_position)
}

/// The body of a change of status.
pub(super) fn new_status(body: &Fields<'_>) -> Result<Status, Error> {
    let mut input = Input::new(body, &["status"]);
    let status = input.required("status", one_of(SETTABLE));
    input.finish(status)
}

/// The query of a list.
#[derive(Debug)]
pub(super) enum ListQuery {
    /// A page by number, with totals.
    Page(Query),
    /// A search, because the query has one of [`SEARCH_PARAMETERS`].
    Search(Search),
}

/// The parameters that make a list a search.
const SEARCH_PARAMETERS: [&str; 9] =
    ["after", "customer", "from", "to", "minTotal", "maxTotal", "refundDue", "disputed", "sort"];

/// Reads the query of a list.
pub(super) fn query(query: &str) -> Result<ListQuery, Error> {
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut known = vec!["status", "page", "limit"];
    known.extend(SEARCH_PARAMETERS);
    let mut input = Input::new(&fields, &known);
    let status = input.optional("status", one_of(ALL));
    if SEARCH_PARAMETERS.iter().all(|name| fields.get(name).is_none()) {
        let (page, limit) = page(&mut input);
        return input.finish(Some(ListQuery::Page(Query { page, limit, status })));
    }
    let no_page = |name: &str, _: Option<&Value>| Err::<(), _>(vec![format!("{name} must not be given with a filter")]);
    input.optional("page", no_page);
    let limit = input.optional("limit", query_integer(MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    let search = search(&mut input, status, limit, Sort::Newest);
    input.finish(Some(ListQuery::Search(search)))
}

/// Reads the query of an export: like that of a list, without `page` and `limit`.
pub(super) fn export(query: &str) -> Result<Search, Error> {
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut known = vec!["status"];
    known.extend(SEARCH_PARAMETERS);
    let mut input = Input::new(&fields, &known);
    let status = input.optional("status", one_of(ALL));
    let search = search(&mut input, status, EXPORT_PAGE_SIZE, Sort::Oldest);
    input.finish(Some(search))
}

/// The search from the parameters in [`SEARCH_PARAMETERS`].
fn search(input: &mut Input<'_>, status: Option<Status>, limit: u32, default_sort: Sort) -> Search {
    let after = input.optional("after", text_of);
    let filter = Filter {
        status,
        customer: input.optional("customer", customer_id),
        made_from: input.optional("from", |name, value| utc_time(name, value, 0)),
        made_before: input.optional("to", |name, value| utc_time(name, value, 1)),
        min_cents: total(input, "minTotal"),
        max_cents: total(input, "maxTotal"),
        refund_due: input.optional("refundDue", boolean).unwrap_or(false),
        disputed: input.optional("disputed", boolean).unwrap_or(false),
    };
    let sort = input.optional("sort", sort).unwrap_or(default_sort);
    Search { filter, sort, after, limit }
}

/// A bound of the total, in cents.
fn total(input: &mut Input<'_>, name: &str) -> Option<u64> {
    let cents = input.optional(name, amount);
    input.explain(name, cents, explain_amount)
}

/// A text that is not empty.
fn text_of(name: &str, value: Option<&Value>) -> Checked<String> {
    match value {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text.clone().into_owned()),
        _ => Err(vec![format!("{name} should not be empty")]),
    }
}

/// A customer's id, in lower case as it is stored. Another text, such as an e-mail address, would find nothing.
fn customer_id(name: &str, value: Option<&Value>) -> Checked<String> {
    match value {
        Some(Value::Text(id)) if id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(id.to_ascii_lowercase())
        }
        _ => Err(vec![format!("{name} must be the id of a customer, 24 hexadecimal digits")]),
    }
}

/// A time in UTC, in the contract's form. A day without a time means the beginning of that day, plus `days` days.
fn utc_time(name: &str, value: Option<&Value>, days: i64) -> Checked<String> {
    let parsed = match value {
        Some(Value::Text(text)) => parse_utc_time(text, days),
        _ => None,
    };
    parsed.ok_or_else(|| vec![format!("{name} must be a day (2024-02-27) or a time in UTC (2024-02-27T15:50:27Z)")])
}

fn parse_utc_time(text: &str, days: i64) -> Option<String> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let utc_time = match Date::parse(text, DAY) {
        Ok(day) => day.checked_add(Duration::days(days))?.midnight().assume_utc(),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC),
    };
    // The databases have no year 0.
    let utc_time = Some(utc_time).filter(|time| time.year() > 0)?;
    utc_time.format(FORM).ok().filter(|text| text.len() == "2024-02-27T15:50:27.545Z".len())
}

/// How a list is sorted.
fn sort(name: &str, value: Option<&Value>) -> Checked<Sort> {
    let text = match value {
        Some(Value::Text(text)) => &**text,
        _ => "",
    };
    match text {
        "newest" => Ok(Sort::Newest),
        "oldest" => Ok(Sort::Oldest),
        "largest" => Ok(Sort::Largest),
        "smallest" => Ok(Sort::Smallest),
        _ => Err(vec![format!("{name} must be one of newest, oldest, largest, smallest")]),
    }
}

/// `page` and `limit` of a list by status. The status is in the path and is checked last.
pub(super) fn query_by_status(query: &str, status: &str) -> Result<Query, Error> {
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut input = Input::new(&fields, &["page", "limit"]);
    let (page, limit) = page(&mut input);
    input.finish(Some(()))?;
    let status = one_of(ALL)("status", Some(&Value::Text(status.into()))).map_err(Error::invalid)?;
    Ok(Query { page, limit, status: Some(status) })
}

fn page(input: &mut Input<'_>) -> (u32, u32) {
    let page = input.optional("page", query_integer(u32::MAX)).unwrap_or(1);
    let limit = input.optional("limit", query_integer(MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    (page, limit)
}

/// One of these statuses, in upper case.
fn one_of(possible: &'static [Status]) -> impl Fn(&str, Option<&Value>) -> Checked<Status> {
    move |_, value| {
        let found = match value {
            Some(Value::Text(text)) => possible.iter().find(|status| name(**status) == text),
            _ => None,
        };
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = possible.iter().map(|status| name(*status)).collect();
            vec![format!("Possible status values are {}", names.join(", "))]
        })
    }
}
