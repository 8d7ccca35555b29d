//! Payment pages for a NestJS system: answers its requests for them with `store:payments/checkout`.
//!
//! The system asks once for each order and keeps no count of attempts, so each request is for the first one: the same
//! order gets the same page for as long as the payment provider remembers it.

mod bindings;

use bindings::checkout::{self, LineItem, SessionRequest};
use bindings::requests::{Error, Guest};
use serde::{Deserialize, Serialize};
use souk_nest::{decimal, exception};

/// The component. It remembers nothing between calls.
struct Payments;

impl Guest for Payments {
    fn handle(pattern: String, data: String) -> Result<String, Error> {
        match pattern.as_str() {
            "create.payment.session" => create_session(&data),
            unknown => Err(Error::Exception(souk_nest::unknown(unknown))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    order_id: String,
    currency: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    #[serde(deserialize_with = "decimal")]
    price: u64,
    quantity: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    cancel_url: String,
    success_url: String,
    url: String,
}

fn create_session(data: &str) -> Result<String, Error> {
    let Create { order_id, currency, items } = souk_nest::data(data).map_err(Error::Exception)?;
    let items = items.into_iter().map(|Item { name, price, quantity }| LineItem { name, unit_price: price, quantity });
    let request = SessionRequest { order_id, attempt: 1, currency, items: items.collect() };
    match checkout::create_session(&request) {
        Ok(session) => {
            let checkout::Session { cancel_url, success_url, url, .. } = session;
            Ok(souk_nest::json(&View { cancel_url, success_url, url }))
        }
        Err(checkout::Error::Invalid(text)) => Err(Error::Exception(exception(400, text))),
        Err(checkout::Error::Unavailable(text)) => Err(Error::Unavailable(text)),
        Err(checkout::Error::Internal(detail)) => {
            eprintln!("checkout failed: {detail}");
            Err(Error::Exception(exception(500, "Internal server error")))
        }
    }
}
