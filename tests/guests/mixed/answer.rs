// Turns the outcome of a call into an HTTP status and a body. The callers include this file (`include!`).

use serde_json::{Value, json};
use souk_test::mixed::events::DeliveryError;
use souk_test::mixed::work::{Error, Item};

fn worked<T: Into<Value>>(outcome: Result<T, Error>) -> (u16, Value) {
    match outcome {
        Ok(value) => (200, value.into()),
        Err(Error::Unavailable(text)) => (503, json!({ "unavailable": text })),
        Err(Error::Failed(text)) => (500, json!({ "failed": text })),
    }
}

fn stored(outcome: Result<(), DeliveryError>) -> (u16, Value) {
    match outcome {
        Ok(()) => (200, json!("stored")),
        Err(DeliveryError::Retry(text)) => (503, json!({ "unavailable": text })),
        Err(DeliveryError::Reject(text)) => (500, json!({ "failed": text })),
    }
}

fn item(name: &str) -> Item {
    Item { name: name.to_owned(), counts: vec![1, u32::MAX - 1] }
}

fn shown(item: Item) -> Value {
    json!({ "name": item.name, "counts": item.counts })
}

/// Parses a number in the path; a bad number is a mistake in the scenario.
fn number(text: &str) -> u32 {
    text.parse().expect("a number in the path")
}

fn compute(ms: u32) {
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < ms.into() {
        for n in 0..10_000 {
            std::hint::black_box(n);
        }
    }
}

fn unknown() -> (u16, Value) {
    (404, json!({ "status": 404, "message": "there is no such call" }))
}
