//! Payment pages of a NestJS system: `store:payments/checkout`, answered by the system's own payment service.
//!
//! That service creates pages, but can neither report on a page nor close it. So this component names the pages itself and
//! gives them one day, which is Stripe's default. When it is asked about a page it answers that the page is unknown, and
//! the orders then request another one. The service's events report a payment on either page.

mod bindings;

use bindings::checkout::{Error, Guest, Session, SessionRequest, SessionState};
use bindings::refunds::{self, ChargeRefunds, RefundRequest};
use bindings::requests;
use serde::{Deserialize, Serialize};
use souk_nest::Decimal;
use time::{Duration, OffsetDateTime};

const PATTERN: &str = "create.payment.session";

/// How long a payment page lasts.
const SESSION_LIFETIME: Duration = Duration::hours(24);

/// The component. It remembers nothing between calls.
struct Checkout;

impl Guest for Checkout {
    fn create_session(request: SessionRequest) -> Result<Session, Error> {
        match requests::handle(PATTERN, &message(&request)) {
            Ok(response) => session(&request, &response),
            Err(error) => Err(to_contract_error(error)),
        }
    }

    fn get_session(_id: String) -> Result<SessionState, Error> {
        Err(Error::Invalid("the payment service cannot say what became of a page".to_owned()))
    }

    fn expire_session(_id: String) -> Result<(), Error> {
        Err(Error::Invalid("the payment service cannot end a page".to_owned()))
    }
}

impl refunds::Guest for Checkout {
    fn create(_request: RefundRequest) -> Result<String, Error> {
        Err(Error::Invalid("the payment service gives nothing back: do it at the payment provider".to_owned()))
    }

    fn of_charge(_charge_id: String) -> Result<ChargeRefunds, Error> {
        Err(Error::Invalid("the payment service does not know refunds: look at the payment provider".to_owned()))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    order_id: &'a str,
    currency: &'a str,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    price: Decimal,
    quantity: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    cancel_url: String,
    success_url: String,
    url: String,
}

/// The status is what the service's filter writes, be it a number or a word.
#[derive(Deserialize)]
struct Exception {
    #[serde(default)]
    status: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

fn message(request: &SessionRequest) -> String {
    let item = |item: &'_ bindings::checkout::LineItem| (item.name.clone(), item.unit_price, item.quantity);
    let lines: Vec<_> = request.items.iter().map(item).collect();
    let items = lines.iter().map(|(name, price, quantity)| Item { name, price: Decimal(*price), quantity: *quantity });
    souk_nest::json(&Create { order_id: &request.order_id, currency: &request.currency, items: items.collect() })
}

fn session(request: &SessionRequest, response: &str) -> Result<Session, Error> {
    let page: Page = serde_json::from_str(response).map_err(|error| {
        // The error's own text has parts of the answer.
        let (line, column) = (error.line(), error.column());
        eprintln!("the payment service answered {PATTERN} with what is no page (line {line}, column {column})");
        Error::Internal("the payment service's answer is no page".to_owned())
    })?;
    Ok(Session {
        id: format!("{}:{}", request.order_id, request.attempt),
        url: page.url,
        success_url: page.success_url,
        cancel_url: page.cancel_url,
        expires_at: souk_nest::timestamp(OffsetDateTime::now_utc().saturating_add(SESSION_LIFETIME)),
    })
}

fn to_contract_error(error: requests::Error) -> Error {
    let json = match error {
        requests::Error::Unavailable(text) => return Error::Unavailable(text),
        requests::Error::Exception(json) => json,
    };
    let exception: Option<Exception> = serde_json::from_str(&json).ok();
    match exception.map(|exception| (exception.status.as_u64(), exception.message)) {
        Some((Some(400..=499), serde_json::Value::String(text))) => Error::Invalid(text),
        exception => {
            eprintln!("the payment service failed: {}", status_for_log(exception.and_then(|(status, _)| status)));
            Error::Internal("the payment service failed".to_owned())
        }
    }
}

/// What the log says of an exception: its text may name a customer or hold a key, and the service's own log has it.
fn status_for_log(status: Option<u64>) -> String {
    status.map_or_else(|| "its exception has no status".to_owned(), |status| format!("status {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindings::checkout::LineItem;

    fn request() -> SessionRequest {
        let item = LineItem { name: "Teclado".into(), unit_price: 7525, quantity: 2 };
        SessionRequest { order_id: "o1".into(), attempt: 2, currency: "usd".into(), items: vec![item] }
    }

    #[test]
    fn a_request_is_the_one_that_the_service_knows() {
        let expected = r#"{"orderId":"o1","currency":"usd","items":[{"name":"Teclado","price":75.25,"quantity":2}]}"#;
        assert_eq!(message(&request()), expected);
    }

    #[test]
    fn a_page_has_a_name_of_ours_and_ends() {
        let response = r#"{"cancelUrl":"http://c","successUrl":"http://s","url":"http://u","more":1}"#;
        let session = session(&request(), response).unwrap();
        assert_eq!((session.id.as_str(), session.url.as_str()), ("o1:2", "http://u"));
        assert_eq!(session.expires_at.len(), 24, "{}", session.expires_at);
        assert!(matches!(super::session(&request(), "null"), Err(Error::Internal(_))));
    }

    #[test]
    fn a_bill_that_is_refused_stays_refused_and_anything_else_is_the_services_fault() {
        let converted = |json: &str| to_contract_error(requests::Error::Exception(json.to_owned()));
        assert!(
            matches!(converted(r#"{"status":400,"message":"too small"}"#), Error::Invalid(text) if text == "too small")
        );
        for json in [r#"{"status":"error","message":"Internal server error"}"#, r#"{"status":500}"#, "{}", "7", ""] {
            assert!(matches!(converted(json), Error::Internal(_)), "{json}");
        }
    }

    #[test]
    fn the_log_has_the_status_of_an_exception_alone() {
        assert_eq!(status_for_log(Some(500)), "status 500");
        assert_eq!(status_for_log(None), "its exception has no status");
    }
}
