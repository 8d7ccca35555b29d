//! Builds the requests to Stripe, with async-stripe's types.
//!
//! It refuses what the contract rules out before Stripe is asked: no lines, no pieces, a total of zero, sums that
//! overflow, and currencies without hundredths. Stripe itself refuses what depends on the currency and the account.

use crate::bindings::checkout::{Error, LineItem, SessionRequest};
use std::collections::HashMap;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAdaptivePricing, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionLineItemsPriceData, CreateCheckoutSessionPaymentIntentData, ExpireCheckoutSession,
    ProductData, RetrieveCheckoutSession,
};
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeRequest as _};
use stripe_shared::CheckoutSessionMode;
use stripe_types::Currency;

/// The most lines of one session, according to Stripe's API reference.
const MAX_LINES: usize = 100;
/// Currencies without hundredths, or with thousandths: <https://docs.stripe.com/currencies#zero-decimal>. An amount in
/// hundredths would be a hundred times too large, or a tenth.
const WITHOUT_HUNDREDTHS: [&str; 20] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf", "bhd",
    "jod", "kwd", "omr", "tnd",
];
/// The most characters of a line's name that are sent, for a person to read.
const MAX_NAME_CHARS: usize = 250;
/// The name of a line whose product has a blank name: Stripe refuses blank names.
const NO_NAME: &str = "(no name)";
/// The most bytes of a form. Items that do not fit become one line, like items with too many lines. The sandbox accepts
/// 128 KiB; 100 long names of three or four bytes per character, percent-encoded, need twice that.
const MAX_FORM_BYTES: usize = 120 * 1024;

/// A second key for the same session, for when Stripe has stored a failure under the first: see [`crate::api::send`].
pub(crate) fn key_after_failure(key: &IdempotencyKey) -> Option<IdempotencyKey> {
    IdempotencyKey::new(format!("{}-again", key.as_str())).ok()
}

/// The key by which Stripe recognizes a repeated request: the order's id for its first session, and the id with the
/// number of the attempt for later ones.
///
/// The first key is the order's id alone, as in the NestJS system. Later attempts need other keys, because for 24 hours
/// Stripe would answer the first key with the first session, although that has ended.
///
/// # Errors
/// `invalid` when the order's id or the attempt is malformed.
pub(crate) fn idempotency_key(request: &SessionRequest) -> Result<IdempotencyKey, Error> {
    let order = &request.order_id;
    let key = match request.attempt {
        0 => return invalid("sessions of an order are counted from 1"),
        1 => order.clone(),
        attempt => format!("{order}-{attempt}"),
    };
    if !order.bytes().all(|byte| byte.is_ascii_graphic()) || order.is_empty() {
        return invalid("the order has no usable id");
    }
    IdempotencyKey::new(key).or_else(|_| invalid("the order's id is too long"))
}

/// The request for a session.
///
/// The order's id is in the metadata of the payment, from where the events of charges have it, and in the metadata of
/// the session, from where the events of sessions have it.
///
/// # Errors
/// `invalid` for an impossible bill, `internal` for a currency without hundredths.
pub(crate) fn create(request: &SessionRequest, success_url: &str, cancel_url: &str) -> Result<RequestBuilder, Error> {
    if WITHOUT_HUNDREDTHS.contains(&request.currency.to_ascii_lowercase().as_str()) {
        eprintln!(
            "the currency {} has no hundredths; fix: set the variable `currency` to another one",
            request.currency
        );
        return Err(Error::Internal("payments are not configured".into()));
    }
    // This type accepts any text as a currency; Stripe knows which ones it accepts.
    let Ok(currency) = request.currency.parse::<Currency>();
    let total = total(&request.items)?;
    let all_in_one = || {
        let name = format!("Order {} ({} lines)", request.order_id, request.items.len());
        form(request, vec![line(&currency, &name, total, 1)], success_url, cancel_url)
    };
    if request.items.len() > MAX_LINES {
        return Ok(all_in_one());
    }
    let lines =
        request.items.iter().map(|item| Ok(line(&currency, &item.name, amount(item.unit_price)?, item.quantity)));
    let form = form(request, lines.collect::<Result<Vec<_>, Error>>()?, success_url, cancel_url);
    let fits = form.body.as_ref().is_none_or(|body| body.len() <= MAX_FORM_BYTES);
    Ok(if fits { form } else { all_in_one() })
}

/// The request with these lines.
fn form(
    request: &SessionRequest,
    lines: Vec<CreateCheckoutSessionLineItems>,
    success_url: &str,
    cancel_url: &str,
) -> RequestBuilder {
    let order = HashMap::from([("orderId".to_owned(), request.order_id.clone())]);
    let mut payment = CreateCheckoutSessionPaymentIntentData::new();
    payment.metadata = Some(order.clone());
    // A customer who paid in another currency would pay another amount than the order's.
    let mut own_currency = CreateCheckoutSessionAdaptivePricing::new();
    own_currency.enabled = Some(false);
    CreateCheckoutSession::new()
        .adaptive_pricing(own_currency)
        .mode(CheckoutSessionMode::Payment)
        .line_items(lines)
        .payment_intent_data(payment)
        .metadata(order)
        .success_url(success_url)
        .cancel_url(cancel_url)
        .build()
}

/// The request for a session's state, with its charge.
///
/// # Errors
/// `invalid` when the id is malformed, because it becomes part of a path.
pub(crate) fn retrieve(id: &str) -> Result<RequestBuilder, Error> {
    let id = session_id(id)?;
    Ok(RetrieveCheckoutSession::new(id).expand(["payment_intent.latest_charge".to_owned()]).build())
}

/// The request that ends a session.
///
/// # Errors
/// As [`retrieve`].
pub(crate) fn expire(id: &str) -> Result<RequestBuilder, Error> {
    Ok(ExpireCheckoutSession::new(session_id(id)?).build())
}

fn session_id(id: &str) -> Result<&str, Error> {
    let known = (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if known { Ok(id) } else { invalid("there is no such payment page") }
}

/// The total of all items, checked.
fn total(items: &[LineItem]) -> Result<i64, Error> {
    if items.is_empty() {
        return invalid("there is nothing to pay for");
    }
    if items.iter().any(|item| item.quantity == 0) {
        return invalid("every item needs a quantity");
    }
    let sum = items.iter().try_fold(0_u64, |sum, item| {
        item.unit_price.checked_mul(item.quantity.into()).and_then(|line| sum.checked_add(line))
    });
    match sum {
        Some(0) => invalid("there is nothing to pay"),
        Some(sum) => amount(sum),
        None => invalid("the total is too large"),
    }
}

fn amount(cents: u64) -> Result<i64, Error> {
    i64::try_from(cents).or_else(|_| invalid("the total is too large"))
}

fn line(currency: &Currency, name: &str, unit_amount: i64, quantity: u32) -> CreateCheckoutSessionLineItems {
    let mut price = CreateCheckoutSessionLineItemsPriceData::new(currency.clone());
    price.unit_amount = Some(unit_amount);
    let name: String =
        if name.trim().is_empty() { NO_NAME.into() } else { name.chars().take(MAX_NAME_CHARS).collect() };
    price.product_data = Some(ProductData::new(name));
    let mut line = CreateCheckoutSessionLineItems::new();
    line.price_data = Some(price);
    line.quantity = Some(quantity.into());
    line
}

fn invalid<T>(message: &str) -> Result<T, Error> {
    Err(Error::Invalid(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use stripe_client_core::StripeMethod;

    const ORDER: &str = "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2";

    fn item(name: &str, unit_price: u64, quantity: u32) -> LineItem {
        LineItem { name: name.into(), unit_price, quantity }
    }

    fn request(items: Vec<LineItem>) -> SessionRequest {
        SessionRequest { order_id: ORDER.into(), attempt: 1, currency: "usd".into(), items }
    }

    fn form(request: &SessionRequest) -> BTreeMap<String, String> {
        let built = create(request, "https://shop.example/ok?a=b&c", "https://shop.example/no").unwrap();
        assert_eq!(built.path, "/checkout/sessions");
        form_urlencoded::parse(built.body.unwrap().as_bytes()).into_owned().collect()
    }

    #[test]
    fn a_bill_becomes_stripes_form_with_the_orders_id_on_session_and_payment() {
        let form = form(&request(vec![item("Teclado & más", 7525, 2), item("Mouse", 15000, 1)]));
        let expected = [
            ("adaptive_pricing[enabled]", "false"),
            ("cancel_url", "https://shop.example/no"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][product_data][name]", "Teclado & más"),
            ("line_items[0][price_data][unit_amount]", "7525"),
            ("line_items[0][quantity]", "2"),
            ("line_items[1][price_data][currency]", "usd"),
            ("line_items[1][price_data][product_data][name]", "Mouse"),
            ("line_items[1][price_data][unit_amount]", "15000"),
            ("line_items[1][quantity]", "1"),
            ("metadata[orderId]", ORDER),
            ("mode", "payment"),
            ("payment_intent_data[metadata][orderId]", ORDER),
            ("success_url", "https://shop.example/ok?a=b&c"),
        ];
        let form: Vec<_> = form.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(form, expected);
    }

    #[test]
    fn more_lines_than_stripe_takes_become_one_with_the_total() {
        let form = form(&request(vec![item("a", 30, 3); 101]));
        assert_eq!(form.get("line_items[0][price_data][unit_amount]").unwrap(), "9090");
        assert_eq!(form.get("line_items[0][quantity]").unwrap(), "1");
        assert_eq!(
            form.get("line_items[0][price_data][product_data][name]").unwrap(),
            &format!("Order {ORDER} (101 lines)")
        );
        assert!(!form.contains_key("line_items[1][quantity]"));
    }

    #[test]
    fn lines_whose_form_is_too_large_become_one_too() {
        let built = |name: &str| {
            let request = request(vec![item(&name.repeat(250), 30, 3); 100]);
            let body = create(&request, "s", "c").unwrap().body.unwrap();
            assert!(body.len() <= MAX_FORM_BYTES);
            body.contains("line_items%5B99%5D") || body.contains("line_items[99]")
        };
        assert!(built("a"));
        assert!(!built("\u{4ef6}"));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let form = form(&request(vec![item(&"é".repeat(300), 1, 1)]));
        assert_eq!(form.get("line_items[0][price_data][product_data][name]").unwrap(), &"é".repeat(250));
    }

    #[test]
    fn a_blank_name_is_replaced() {
        for name in ["", " ", "\t\u{a0}"] {
            let form = form(&request(vec![item(name, 1, 1)]));
            assert_eq!(form.get("line_items[0][price_data][product_data][name]").unwrap(), NO_NAME);
        }
    }

    #[test]
    fn an_impossible_bill_is_refused() {
        for items in [
            vec![],
            vec![item("a", 0, 5)],
            vec![item("a", 5, 0)],
            vec![item("a", u64::MAX, 1)],
            vec![item("a", u64::MAX, 2)],
            vec![item("a", i64::MAX as u64, 1), item("a", 1, 1)],
        ] {
            assert!(matches!(create(&request(items), "s", "c"), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn a_currency_without_hundredths_is_refused() {
        for currency in ["jpy", "JPY", "kwd"] {
            let request = SessionRequest { currency: currency.into(), ..request(vec![item("a", 7525, 1)]) };
            assert!(matches!(create(&request, "s", "c"), Err(Error::Internal(_))), "{currency}");
        }
    }

    #[test]
    fn each_session_of_an_order_has_its_own_key_and_the_first_is_the_order_id() {
        let key = |attempt, order: &str| {
            idempotency_key(&SessionRequest { order_id: order.into(), attempt, ..request(vec![]) })
                .map(IdempotencyKey::into_inner)
        };
        assert_eq!(key(1, ORDER).unwrap(), ORDER);
        assert_eq!(key(2, ORDER).unwrap(), format!("{ORDER}-2"));
        let again = key_after_failure(&IdempotencyKey::new(ORDER).unwrap()).unwrap();
        assert_eq!(again.as_str(), format!("{ORDER}-again"), "the same each time, and no attempt's");
        for (attempt, order) in [(0, ORDER), (1, ""), (1, "a\nb"), (1, &"a".repeat(256))] {
            assert!(matches!(key(attempt, order), Err(Error::Invalid(_))), "{attempt} of {order}");
        }
    }

    #[test]
    fn only_a_well_formed_id_becomes_part_of_a_path() {
        let built = retrieve("cs_test_a1B2").unwrap();
        assert_eq!(built.path, "/checkout/sessions/cs_test_a1B2");
        let query = built.query.unwrap();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(query, [("expand[0]".to_owned(), "payment_intent.latest_charge".to_owned())]);
        let built = expire("cs_test_a1B2").unwrap();
        assert!(matches!(built.method, StripeMethod::Post));
        assert_eq!(built.path, "/checkout/sessions/cs_test_a1B2/expire");
        for id in ["", "../refunds", "a?b", "a/b", "a%2fb", "é", &"a".repeat(256)] {
            assert!(matches!(retrieve(id), Err(Error::Invalid(_))), "{id}");
            assert!(matches!(expire(id), Err(Error::Invalid(_))), "{id}");
        }
    }
}
