//! A test component that makes delayed calls: `/ID/MS` calls `tick` with this id, due in MS milliseconds, and `/seen`
//! lists the calls that have arrived.

use http::StatusCode;
use serde_json::json;
use spin_sdk::http::{IntoResponse, Request, Result};
use spin_sdk::wasip3::http::types;
use spin_sdk::{http_service, wit_bindgen};
use std::time::{SystemTime, UNIX_EPOCH};

wit_bindgen::generate!({
    world: "souk-test:ticks/later",
    path: ["../../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use souk_test::ticks::{look, ticks};

#[http_service]
async fn handle(request: Request) -> Result<types::Response, types::ErrorCode> {
    let path = request.uri().path().trim_matches('/').to_owned();
    let (status, value) = match path.split_once('/') {
        None => match look::seen() {
            Ok(seen) => (StatusCode::OK, json!(seen)),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "unavailable": format!("{error:?}") })),
        },
        Some((id, ms)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis();
            let due = u64::try_from(now).expect("a time") + ms.parse::<u64>().expect("milliseconds in the path");
            match ticks::tick(id, due) {
                Ok(()) => (StatusCode::OK, json!(due)),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "unavailable": format!("{error:?}") })),
            }
        }
    };
    let mut response = http::Response::new(value.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response.into_response()
}
