//! Schemas of request bodies, parameters and errors, only for the OpenAPI description.
//!
//! The gateway reads requests field by field ([`crate::validate`]) and builds errors by hand, so there are no types to
//! describe. The types here exist only for the description; tests of the routes check the examples with the real rules.
#![allow(dead_code, reason = "the macros read the fields, nothing else does")]

use utoipa::{IntoParams, IntoResponses, ToSchema};

/// Who registers.
#[derive(ToSchema)]
#[schema(as = NewAccount, example = json!({"name": "Ann", "email": "ann@example.com", "password": "Abc123!x"}))]
pub(crate) struct NewAccountBody {
    /// What to call them; may be empty. At most 1000 bytes in UTF-8, and no control characters.
    #[schema(max_length = 1000)]
    name: String,
    /// At most 254 bytes in UTF-8.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// At least one lower-case and one upper-case letter, one digit and one symbol; at most 1024 bytes in UTF-8. All of it
    /// counts.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: String,
}

/// Who logs in.
#[derive(ToSchema)]
#[schema(as = Credentials, example = json!({"email": "ann@example.com", "password": "Abc123!x"}))]
pub(crate) struct CredentialsBody {
    /// In letters of whichever case; at most 254 bytes in UTF-8.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// At most 1024 bytes in UTF-8.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: String,
}

/// What to sell.
#[derive(ToSchema)]
#[schema(as = NewProduct, example = json!({"name": "Teclado", "price": 75.25}))]
pub(crate) struct NewProductBody {
    #[schema(min_length = 1)]
    name: String,
    /// At most two decimals; a string with a plain decimal in it is taken too.
    #[schema(minimum = 0, maximum = 10_000_000_000_u64, multiple_of = 0.01)]
    price: f64,
}

/// What to change of a product; what is absent stays as it is. At least one of the two must be there.
#[derive(ToSchema)]
#[schema(as = ProductChanges, min_properties = 1, example = json!({"price": 79.9}))]
pub(crate) struct ProductChangesBody {
    #[schema(min_length = 1, nullable = false)]
    name: Option<String>,
    /// At most two decimals; a string with a plain decimal in it is taken too.
    #[schema(minimum = 0, maximum = 10_000_000_000_u64, multiple_of = 0.01, nullable = false)]
    price: Option<f64>,
}

/// What to buy.
#[derive(ToSchema)]
#[schema(as = NewOrder, example = json!({"items": [{"productId": 1, "quantity": 2}, {"productId": 2, "quantity": 1}]}))]
pub(crate) struct NewOrderBody {
    #[schema(min_items = 1, max_items = 1000)]
    items: Vec<NewOrderItemBody>,
}

/// One line of an order to be made.
#[derive(ToSchema)]
#[schema(as = NewOrderItem, rename_all = "camelCase")]
struct NewOrderItemBody {
    /// The product's number.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    product_id: u64,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
}

/// What becomes of an order.
#[derive(ToSchema)]
#[schema(as = NewStatus, example = json!({"status": "DELIVERED"}))]
pub(crate) struct NewStatusBody {
    status: SettableStatus,
}

/// The status of an order. PENDING leads to PAID or CANCELLED, PAID to DELIVERED or REFUNDED, REFUNDED to PAID.
#[derive(ToSchema)]
#[schema(as = Status, rename_all = "UPPERCASE")]
pub(crate) enum StatusName {
    Pending,
    Paid,
    Delivered,
    Cancelled,
    Refunded,
}

/// How far a dispute has come.
#[derive(ToSchema)]
#[schema(as = Dispute, rename_all = "UPPERCASE")]
pub(crate) enum DisputeName {
    Open,
    Won,
    Lost,
}

/// How far a refund has come.
#[derive(ToSchema)]
#[schema(as = RefundState, rename_all = "UPPERCASE")]
pub(crate) enum RefundStateName {
    Requested,
    Sent,
    Succeeded,
    Failed,
}

/// What of an order or a product changed.
#[derive(ToSchema)]
#[schema(as = Changed, rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ChangedName {
    Status,
    Charge,
    RefundedAmount,
    RefundDueAmount,
    Dispute,
    Refund,
    Price,
    Available,
}

/// How much to give back; without an amount, all that was paid and not given back.
#[derive(ToSchema)]
#[schema(as = NewRefund, example = json!({"amount": 10.5}))]
pub(crate) struct NewRefundBody {
    /// At most two decimals. Needs an `Idempotency-Key`.
    #[schema(minimum = 0.01, maximum = 10_000_000_000_u64, nullable = false)]
    amount: Option<f64>,
}

/// The statuses that a client may name; an order that has left PENDING does not come back to it.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
enum SettableStatus {
    Pending,
    Delivered,
    Cancelled,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// From 1.
    #[param(minimum = 1, maximum = 4_294_967_295_u64, default = 1)]
    page: Option<u64>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
}

/// Which products to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProductQuery {
    /// From 1; not with `after`.
    #[param(minimum = 1, maximum = 4_294_967_295_u64, default = 1)]
    page: Option<u64>,
    /// The number of the product after which the page begins.
    #[param(minimum = 0)]
    after: Option<u64>,
    /// The deleted ones, for administrators; not with `page`.
    #[param(default = false)]
    deleted: Option<bool>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
}

/// Filters and sorting of a list of orders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct OrderFilter {
    /// Only orders that have come so far.
    #[param(inline)]
    status: Option<StatusName>,
    /// The order after which to go on: `next` of the page before, or what the last line of an export says.
    #[param(format = "uuid")]
    after: Option<String>,
    /// Only orders of the customer with this id. A customer sees only their own orders in any case.
    #[param(pattern = "^[0-9a-fA-F]{24}$")]
    customer: Option<String>,
    /// Only orders made then or later: a day, or a time in UTC.
    from: Option<String>,
    /// Only orders made until then: a day, which counts as a whole, or a time in UTC, before which they were made.
    to: Option<String>,
    /// Only orders that cost at least so much.
    #[param(minimum = 0)]
    min_total: Option<f64>,
    /// Only orders that cost at most so much.
    #[param(minimum = 0)]
    max_total: Option<f64>,
    /// Only orders of which money should be given back.
    refund_due: Option<bool>,
    /// Only orders of which a payment is or was disputed at the customer's bank.
    disputed: Option<bool>,
    /// By the time when they were made, or by their total.
    #[param(inline)]
    sort: Option<SortName>,
}

/// Which page of orders. With any filter but `status`, the answer has `next` in place of totals.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrderPage {
    /// From 1, within the first 10,000 orders; not with `after` or any filter but `status`.
    #[param(minimum = 1, maximum = 4_294_967_295_u64, default = 1)]
    page: Option<u64>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
}

/// The orders in which orders are listed.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum SortName {
    Newest,
    Oldest,
    Largest,
    Smallest,
}

/// The idempotency key of a request: a repeat with the same key gives the same order instead of a second one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKeyHeader {
    /// Names this order for repeats of the request: 1 to 255 visible ASCII characters.
    #[param(rename = "Idempotency-Key", nullable = false, min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    key: Option<String>,
}

/// The request is wrong.
#[derive(ToSchema, serde::Serialize)]
#[schema(rename_all = "camelCase", example = json!({
    "message": ["items.0.quantity must be a positive number"], "error": "Bad Request", "statusCode": 400
}))]
pub(crate) struct RequestError {
    message: Messages,
    /// The status in words.
    error: String,
    status_code: u16,
    /// What would do instead, where the message alone does not say it.
    #[schema(nullable = false)]
    hint: Option<String>,
}

/// One message, or one for each wrong field.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Messages {
    One(String),
    Many(Vec<String>),
}

/// An error with a message and a status, and sometimes a hint.
#[derive(ToSchema, serde::Serialize)]
#[schema(rename_all = "camelCase", example = json!({"statusCode": 401, "message": "Unauthorized"}))]
pub(crate) struct PlainError {
    message: String,
    status_code: u16,
    /// What would do instead, where the message alone does not say it.
    #[schema(nullable = false)]
    hint: Option<String>,
}

/// A service refuses or cannot answer now, or the server gives up on a request.
#[derive(ToSchema, serde::Serialize)]
#[schema(rename_all = "camelCase", example = json!({"message": "Some products were not found", "status": 400}))]
pub(crate) struct ServiceError {
    message: String,
    status: u16,
    /// The order that is stored and cannot be paid yet.
    #[schema(nullable = false, format = "uuid")]
    order_id: Option<String>,
    /// What would do instead, where the message alone does not say it.
    #[schema(nullable = false)]
    hint: Option<String>,
}

/// One of three shapes: the request is wrong, its body cannot be read, or a service refuses it.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Refusal {
    Request(RequestError),
    Plain(PlainError),
    Service(ServiceError),
}

/// One of two shapes, by whether the gateway or the server in front of it gives up on a request.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Failure {
    Plain(PlainError),
    Service(ServiceError),
}

/// One of two shapes: no token, or one that proves nothing.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum NoProof {
    Request(RequestError),
    Plain(PlainError),
}

/// What can go wrong with every request.
#[derive(IntoResponses)]
pub(crate) enum Failures {
    /// The request line and the headers are too large; the answer has no body
    #[response(status = 431)]
    HeadersTooLarge,
    /// The service is at fault
    #[response(status = 500)]
    Internal(Failure),
    /// A service cannot answer now; the same request may succeed later
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(ServiceError),
    /// There was no answer in time; what the request asks for may have been done all the same
    #[response(status = 504)]
    TooLate(ServiceError),
}

/// What can go wrong with every request that asks for a payment page.
#[derive(IntoResponses)]
pub(crate) enum PaymentErrors {
    /// The request line and the headers are too large; the answer has no body
    #[response(status = 431)]
    HeadersTooLarge,
    /// The service is at fault
    #[response(status = 500)]
    Internal(Failure),
    /// A service cannot answer now. With `orderId` the order is stored: `POST /api/orders/{id}/pay`, or the same request
    /// with the same `Idempotency-Key`, opens its page later
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(ServiceError),
    /// There was no answer in time; what the request asks for may have been done all the same
    #[response(status = 504)]
    TooLate(ServiceError),
}

/// What can go wrong with a query.
#[derive(IntoResponses)]
pub(crate) enum QueryErrors {
    /// The query is wrong
    #[response(status = 400)]
    Invalid(Refusal),
    /// The query has more than 1000 parameters
    #[response(status = 413)]
    TooMany(PlainError),
}

/// What can go wrong with a body, also on routes that read it but do not use it.
#[derive(IntoResponses)]
pub(crate) enum BodyErrors {
    /// The body is wrong, or a service refuses it
    #[response(status = 400)]
    Invalid(Refusal),
    /// The body did not arrive in time
    #[response(status = 408)]
    TooSlow(ServiceError),
    /// The body has more than 100 KiB, or is a form with more than 1000 fields
    #[response(status = 413)]
    TooLarge(Failure),
    /// The body's charset or encoding is unknown
    #[response(status = 415)]
    Unsupported(PlainError),
}

/// What can go wrong where a login is needed.
#[derive(IntoResponses)]
pub(crate) enum LoginErrors {
    /// No token, or one that proves nothing
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "Bearer")))]
    Unauthorized(NoProof),
}

/// What can go wrong where an administrator is needed.
#[derive(IntoResponses)]
pub(crate) enum AdminErrors {
    /// No token, or one that proves nothing
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "Bearer")))]
    Unauthorized(NoProof),
    /// The user is no administrator
    #[response(status = 403)]
    Forbidden(RequestError),
}

/// What can go wrong on a route with an id in its path.
#[derive(IntoResponses)]
pub(crate) enum MissingErrors {
    /// The number in the path is none, or the request is wrong in another way
    #[response(status = 400)]
    Invalid(Refusal),
    /// There is none with this number that the caller may see
    #[response(status = 404)]
    Missing(ServiceError),
}

/// What can go wrong where an order changes.
#[derive(IntoResponses)]
pub(crate) enum ConflictErrors {
    /// The caller may see the order, but not do this to it
    #[response(status = 403)]
    Forbidden(ServiceError),
    /// The order has come too far, or not far enough
    #[response(status = 409)]
    Conflict(ServiceError),
}
