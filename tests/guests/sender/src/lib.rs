//! A test component that sends events over a durable link: `/DEED/ID/N` over HTTP, where N is the deed's number, and
//! `outbox` for `souk call`. `/note/ID/N` sends an event with a note of N bytes that its receiver rejects.

use http::StatusCode;
use serde_json::json;
use spin_sdk::http::{IntoResponse, Request, Result};
use spin_sdk::wasip3::http::types;
use spin_sdk::{http_service, wit_bindgen};

wit_bindgen::generate!({
    world: "souk-test:rogue/sender",
    path: ["../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::rogue::outbox;
use souk_test::rogue::events::{self, Deed, DeliveryError};

struct Sender;
export!(Sender);

impl outbox::Guest for Sender {
    fn send(id: String, deed: Deed) -> std::result::Result<(), DeliveryError> {
        events::handle(&id, deed, "")
    }
}

#[http_service]
async fn handle(request: Request) -> Result<types::Response, types::ErrorCode> {
    let path = request.headers().get("spin-path-info").and_then(|p| p.to_str().ok()).unwrap_or_default();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let [deed, id, n] = segments.as_slice() else {
        return reply(StatusCode::NOT_FOUND, json!({ "status": 404, "message": "write /DEED/ID/N" }));
    };
    let n: u32 = n.parse().expect("a number in the path");
    let (deed, note) = match *deed {
        "finish" => (Deed::Finish, 0),
        "retry" => (Deed::Retry(n), 0),
        "reject" => (Deed::Reject, 0),
        "trap" => (Deed::Trap(n), 0),
        "wait" => (Deed::Wait(n), 0),
        "note" => (Deed::Reject, n),
        _ => return reply(StatusCode::NOT_FOUND, json!({ "status": 404, "message": "sender has no such deed" })),
    };
    match events::handle(id, deed, &"x".repeat(note as usize)) {
        Ok(()) => reply(StatusCode::OK, json!("stored")),
        Err(DeliveryError::Retry(m)) => reply(StatusCode::SERVICE_UNAVAILABLE, json!({ "unavailable": m })),
        Err(DeliveryError::Reject(m)) => reply(StatusCode::INTERNAL_SERVER_ERROR, json!({ "failed": m })),
    }
}

fn reply(status: StatusCode, value: serde_json::Value) -> Result<types::Response, types::ErrorCode> {
    let mut response = http::Response::new(value.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response.into_response()
}
