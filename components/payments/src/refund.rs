//! The requests for a refund, and for the refunds of a charge. They have a few fields, so they do without async-stripe's
//! types for refunds, which are in a crate of their own with all of Stripe's core types.

use crate::bindings::checkout::Error;
use crate::bindings::refunds::RefundRequest;
use serde::Serialize;
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod};

/// The longest id of a charge, in bytes; Stripe's ids have a tenth of that.
const MAX_ID: usize = 255;
/// The most refunds of a charge that are read: what Stripe returns at once.
const MAX_LISTED: u32 = 100;

#[derive(Serialize)]
struct Form<'a> {
    amount: u64,
    charge: &'a str,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    order_id: &'a str,
    refund_id: &'a str,
}

/// The key by which Stripe recognizes a repeated refund: its id.
///
/// # Errors
/// `invalid` when the id is empty, not visible ASCII, or too long.
pub(crate) fn idempotency_key(request: &RefundRequest) -> Result<IdempotencyKey, Error> {
    let id = &request.refund_id;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid("the refund has no usable id");
    }
    IdempotencyKey::new(id).or_else(|_| invalid("the refund's id is too long"))
}

/// The request. The ids of the order and the refund are in its metadata, so that Stripe's events about it carry them.
///
/// # Errors
/// `invalid` when the amount is zero, or the charge's id is malformed.
pub(crate) fn create(request: &RefundRequest) -> Result<RequestBuilder, Error> {
    let RefundRequest { refund_id, order_id, charge_id, amount } = request;
    check_charge(charge_id)?;
    if *amount == 0 {
        return invalid("there is nothing to refund");
    }
    let form = Form { amount: *amount, charge: charge_id, metadata: Metadata { order_id, refund_id } };
    Ok(RequestBuilder::new(StripeMethod::Post, "/refunds").form(&form))
}

#[derive(Serialize)]
struct Query<'a> {
    charge: &'a str,
    limit: u32,
    expand: [&'a str; 1],
}

/// The request for the refunds of a charge, the latest first, each with the charge as it is now.
///
/// # Errors
/// `invalid` when the charge's id is malformed.
pub(crate) fn of_charge(charge: &str) -> Result<RequestBuilder, Error> {
    check_charge(charge)?;
    let query = Query { charge, limit: MAX_LISTED, expand: ["data.charge"] };
    Ok(RequestBuilder::new(StripeMethod::Get, "/refunds").query(&query))
}

fn check_charge(id: &str) -> Result<(), Error> {
    let known = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if known { Ok(()) } else { invalid("there is no such charge") }
}

fn invalid<T>(message: &str) -> Result<T, Error> {
    Err(Error::Invalid(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(charge: &str, amount: u64) -> RefundRequest {
        RefundRequest { refund_id: "r-1".into(), order_id: "o-1".into(), charge_id: charge.into(), amount }
    }

    #[test]
    fn a_refund_names_its_charge_its_order_and_itself() {
        let built = create(&request("ch_1", 250)).unwrap();
        assert_eq!(built.path, "/refunds");
        let form: Vec<_> = form_urlencoded::parse(built.body.as_ref().unwrap().as_bytes()).into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            form,
            [
                pair("amount", "250"),
                pair("charge", "ch_1"),
                pair("metadata[orderId]", "o-1"),
                pair("metadata[refundId]", "r-1")
            ]
        );
        assert_eq!(idempotency_key(&request("ch_1", 250)).unwrap().as_str(), "r-1");
    }

    #[test]
    fn the_refunds_of_a_charge_are_asked_for_with_the_charge() {
        let built = of_charge("ch_1").unwrap();
        assert!(matches!(built.method, StripeMethod::Get) && built.body.is_none());
        assert_eq!(built.path, "/refunds");
        let query: Vec<_> = form_urlencoded::parse(built.query.as_ref().unwrap().as_bytes()).into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query, [pair("charge", "ch_1"), pair("limit", "100"), pair("expand[0]", "data.charge")]);
        assert!(matches!(of_charge("ch_1/../x"), Err(Error::Invalid(_))));
    }

    #[test]
    fn a_refund_without_an_amount_or_a_charge_is_refused() {
        for bad in [request("ch_1", 0), request("", 1), request("../x", 1), request(&"c".repeat(256), 1)] {
            assert!(matches!(create(&bad), Err(Error::Invalid(_))));
        }
    }
}
