//! What clients send about orders: bodies, queries and the idempotency key, checked and typed.
//!
//! Lists nest, and class-validator's words about what is nested depend on what it finds there; [`items`] follows it.

use super::export::PAGE_SIZE;
use crate::bindings::orders::{Filter, NewItem, NewOrder, Query, Search, Sort, Status};
use crate::bindings::refunds::NewRefund;
use crate::http::error::Error;
use crate::http::json::{Fields, Value};
use crate::http::query;
use crate::validate::{Checked, Input, amount, positive, truth, whole};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

/// The most lines of an order; the contract's bound.
const MAX_ITEMS: usize = 1000;
/// The most pieces in a line; the contract's bound.
const MAX_QUANTITY: u64 = 1_000_000;
/// The highest number of a product that clients can write: beyond it JavaScript rounds.
const MAX_PRODUCT_ID: u64 = (1 << 53) - 1;
/// The most orders on a page; the contract's bound.
const MAX_LIMIT: u32 = 1000;
/// The orders on a page when the query says nothing.
const DEFAULT_LIMIT: u32 = 10;
/// The most characters of an idempotency key; the contract's bound.
const MAX_KEY: usize = 255;

/// The statuses that a client may set, or have tried to since before the others existed.
const SETTABLE: &[Status] = &[Status::Pending, Status::Delivered, Status::Cancelled];
/// The statuses that an order can have.
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
        false => Err(Error::bad_request(format!("Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters"))),
    }
}

/// The body of a refund. One without an amount gives back all that is left.
pub(super) fn new_refund(body: &Fields<'_>, idempotency_key: Option<String>) -> Result<NewRefund, Error> {
    let mut input = Input::new(body, &["amount"]);
    let cents = input.optional("amount", positive_amount);
    input.finish(Some(()))?;
    check_key(idempotency_key.as_deref())?;
    if cents.is_some() && idempotency_key.is_none() {
        let text = "A refund of an amount needs an Idempotency-Key, so that it is made once however often it is sent";
        return Err(Error::bad_request(text));
    }
    Ok(NewRefund { cents, idempotency_key })
}

/// An amount above zero; in cents.
fn positive_amount(name: &str, value: Option<&Value>) -> Checked<u64> {
    match amount(name, value)? {
        0 => Err(vec![format!("{name} must be a positive number")]),
        cents => Ok(cents),
    }
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
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
        // An object is checked as if it were a line, and its own faults come before that it is no list.
        return Err(item(name, text).err().unwrap_or_else(|| vec![too_few(), no_list()]));
    }
    let list = Fields::parse(text).map_err(|_| not_unicode(name))?;
    match list.values().len() {
        0 => return Err(vec![too_few()]),
        // No more than this is looked into, however many faults there are.
        n if n > MAX_ITEMS => return Err(vec![format!("{name} must contain no more than {MAX_ITEMS} elements")]),
        _ => {}
    }
    let mut items = Vec::with_capacity(list.values().len());
    let mut faults = Vec::new();
    for (i, value) in list.values().enumerate() {
        match value {
            Value::Nested(text) if text.starts_with('[') => faults.push(format!("{name}.{i} must be an object")),
            Value::Nested(text) => match item(&format!("{name}.{i}"), text) {
                Ok(item) => items.push(item),
                Err(messages) => faults.extend(messages),
            },
            // class-validator leaves the position out.
            _ => faults.push(format!("{name}.{}", not_nested(name))),
        }
    }
    if faults.is_empty() { Ok(items) } else { Err(faults) }
}

fn not_nested(name: &str) -> String {
    format!("each value in nested property {name} must be either object or array")
}

fn not_unicode(name: &str) -> Vec<String> {
    vec![format!("{name} must be text in Unicode")]
}

/// One line of an order, at `place`.
fn item(place: &str, text: &str) -> Checked<NewItem> {
    let fields = Fields::parse(text).map_err(|_| not_unicode(place))?;
    let mut input = Input::new(&fields, &["productId", "quantity"]);
    let product_id = input.required("productId", whole(MAX_PRODUCT_ID));
    let quantity = input.required("quantity", whole(MAX_QUANTITY));
    // It fits: `MAX_QUANTITY` is below 2^32.
    let quantity = quantity.and_then(|quantity| u32::try_from(quantity).ok());
    let item = product_id.zip(quantity).map(|(product_id, quantity)| NewItem { product_id, quantity });
    let with_place = |messages: Vec<String>| messages.iter().map(|message| format!("{place}.{message}")).collect();
    input.check(item).map_err(with_place)
}

/// The body of a change of status.
pub(super) fn new_status(body: &Fields<'_>) -> Result<Status, Error> {
    let mut input = Input::new(body, &["status"]);
    let status = input.required("status", one_of(SETTABLE));
    input.finish(status)
}

/// What a list asks for.
#[derive(Debug)]
pub(super) enum ListQuery {
    /// The page with a number, and totals: as clients have always asked.
    Page(Query),
    /// Any of the members that came later.
    Search(Search),
}

/// The members of a list that make it a search.
const SEARCH: [&str; 9] = ["after", "customer", "from", "to", "minTotal", "maxTotal", "refundDue", "disputed", "sort"];

/// The query of a list.
pub(super) fn query(query: &str) -> Result<ListQuery, Error> {
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut known = vec!["status", "page", "limit"];
    known.extend(SEARCH);
    let mut input = Input::new(&fields, &known);
    let status = input.optional("status", one_of(ALL));
    if SEARCH.iter().all(|name| fields.get(name).is_none()) {
        let (page, limit) = page(&mut input);
        return input.finish(Some(ListQuery::Page(Query { page, limit, status })));
    }
    let no_page = |name: &str, _: Option<&Value>| Err::<(), _>(vec![format!("{name} must not be given with a filter")]);
    input.optional("page", no_page);
    let limit = input.optional("limit", positive(MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    let search = search(&mut input, status, limit, Sort::Newest);
    input.finish(Some(ListQuery::Search(search)))
}

/// The query of an export: that of a list without `page` and `limit`.
pub(super) fn export(query: &str) -> Result<Search, Error> {
    let text = query::to_json(query)?;
    let fields = Fields::parse(&text)?;
    let mut known = vec!["status"];
    known.extend(SEARCH);
    let mut input = Input::new(&fields, &known);
    let status = input.optional("status", one_of(ALL));
    let search = search(&mut input, status, PAGE_SIZE, Sort::Oldest);
    input.finish(Some(search))
}

/// What to find: the members of [`SEARCH`].
fn search(input: &mut Input<'_>, status: Option<Status>, limit: u32, usual: Sort) -> Search {
    let after = input.optional("after", text_of);
    let filter = Filter {
        status,
        customer: input.optional("customer", text_of),
        made_from: input.optional("from", |name, value| moment(name, value, 0)),
        made_before: input.optional("to", |name, value| moment(name, value, 1)),
        min_cents: input.optional("minTotal", amount),
        max_cents: input.optional("maxTotal", amount),
        refund_due: input.optional("refundDue", truth).unwrap_or(false),
        disputed: input.optional("disputed", truth).unwrap_or(false),
    };
    let sort = input.optional("sort", sort).unwrap_or(usual);
    Search { filter, sort, after, limit }
}

/// A text that is not empty, as a query has them.
fn text_of(name: &str, value: Option<&Value>) -> Checked<String> {
    match value {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text.clone().into_owned()),
        _ => Err(vec![format!("{name} should not be empty")]),
    }
}

/// A moment in UTC, in the contract's form. A day is its beginning, `days` later.
fn moment(name: &str, value: Option<&Value>, days: i64) -> Checked<String> {
    let parsed = match value {
        Some(Value::Text(text)) => parse_moment(text, days),
        _ => None,
    };
    parsed.ok_or_else(|| vec![format!("{name} must be a day (2024-02-27) or a moment in UTC (2024-02-27T15:50:27Z)")])
}

fn parse_moment(text: &str, days: i64) -> Option<String> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = match Date::parse(text, DAY) {
        Ok(day) => day.checked_add(Duration::days(days))?.midnight().assume_utc(),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC),
    };
    moment.format(FORM).ok().filter(|text| text.len() == "2024-02-27T15:50:27.545Z".len())
}

/// In which order a list comes.
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

/// `page` and `limit` of a list of the orders with one status, which stands in the path and is checked last.
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
    let page = input.optional("page", positive(u32::MAX)).unwrap_or(1);
    let limit = input.optional("limit", positive(MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
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
