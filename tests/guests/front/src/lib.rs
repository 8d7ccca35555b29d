//! A test component that serves HTTP: `/DEED/ARGUMENT...` calls a function of the linked component (`deeds` in
//! `rogue.wit`), and `/self/...` runs a function of this component.
//!
//! It reads the path from `spin-path-info`, so that the same file serves under any wildcard route. `/show/...` answers
//! with the request's headers.

use futures::SinkExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use spin_sdk::http::body::{self, IncomingBodyExt as _};
use spin_sdk::http::{IntoResponse, Request, Response, Result};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::types;
use spin_sdk::{http_service, wit_bindgen};
use std::hint::black_box;

wit_bindgen::generate!({
    world: "souk-test:rogue/front",
    path: ["../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use souk_test::rogue::{bare, deeds};

#[http_service]
async fn handle(request: Request) -> Result<types::Response, types::ErrorCode> {
    if request.uri().path().starts_with("/show/") {
        return reply(StatusCode::OK, headers(request.headers()));
    }
    let path = match request.headers().get("spin-path-info").and_then(|p| p.to_str().ok()) {
        Some(path) if !path.is_empty() => path.to_owned(),
        _ => request.uri().path().to_owned(),
    };
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["self", rest @ ..] => own(rest, request).await,
        ["fetch"] => deed(deeds::fetch(request.uri().query().unwrap_or_default().to_owned()).await),
        ["bare", n] => reply(StatusCode::OK, json!(bare::answer(number(n)))),
        ["answer", n] => deed(deeds::answer(number(n))),
        ["hold", ms] => deed(deeds::hold(number(ms))),
        ["forever"] => deed(deeds::forever()),
        ["grow", mib] => deed(deeds::grow(number(mib))),
        ["boom"] => deed(deeds::boom()),
        ["count"] => deed(deeds::count()),
        ["big", n] => deed(deeds::big(number(n)).map(|bytes| bytes.len())),
        ["print", text] => deed(deeds::print(text)),
        ["print-lines", lines, bytes] => deed(deeds::print_lines(number(lines), number(bytes))),
        ["hoard-headers", count, bytes] => deed(deeds::hoard_headers(number(count), number(bytes))),
        ["hoard-requests", count, bytes] => deed(deeds::hoard_requests(number(count), number(bytes)).await),
        ["hoard-files", count] => deed(deeds::hoard_files(number(count))),
        ["hoard-file-streams", count] => deed(deeds::hoard_file_streams(number(count)).await),
        ["hoard-opens", count] => deed(deeds::hoard_opens(number(count)).await),
        ["hoard-directories", count] => deed(deeds::hoard_directories(number(count)).await),
        ["hoard-keys", count] => deed(deeds::hoard_keys(number(count)).await),
        ["hoard-calls", count, bytes] => deed(deeds::hoard_calls(number(count), number(bytes)).await),
        ["hoard-streams", count] => deed(deeds::hoard_streams(number(count))),
        ["strain", how, n] => deed(deeds::strain(how, number(n))),
        ["read-variable", name] => deed(deeds::read_variable(name)),
        ["key-value-get", store, key] => deed(deeds::key_value_get(store, key)),
        ["key-value-set", store, key, value] => deed(deeds::key_value_set(store, key, value)),
        ["key-value-increment", store, key] => deed(deeds::key_value_increment(store, key)),
        ["open-database", label] => deed(deeds::open_database(label)),
        ["insert-row", note] => deed(deeds::insert_row(note)),
        ["count-rows", note] => deed(deeds::count_rows(note)),
        ["begin-and-leave", note] => deed(deeds::begin_and_leave(note)),
        ["insert-and-hold", note, ms] => deed(deeds::insert_and_hold(note, number(ms))),
        ["set-keys", count] => deed(deeds::set_keys(number(count))),
        ["read-keys", way, n] => deed(deeds::read_keys(reading(way), number(n)).await),
        ["read-rows", count, way, n] => deed(deeds::read_rows(number(count), reading(way), number(n)).await),
        _ => reply(StatusCode::NOT_FOUND, json!({ "status": 404, "message": "front has no such deed" })),
    }
}

/// The functions of `front` itself, which use no link.
async fn own(segments: &[&str], request: Request) -> Result<types::Response, types::ErrorCode> {
    match segments {
        ["hello"] => reply(StatusCode::OK, json!("hello")),
        ["boom"] => panic!("front's own boom, with the secret detail swordfish"),
        ["forever"] => {
            let mut n = 0_u32;
            loop {
                n = black_box(n.wrapping_add(1));
            }
        }
        ["hold", ms] => {
            println!("holding on");
            monotonic_clock::wait_for(u64::from(number(ms)) * 1_000_000).await;
            reply(StatusCode::OK, json!(number(ms)))
        }
        ["stream", chunks] => stream(number(chunks)),
        ["flood"] => flood(),
        ["bytes", count] => {
            let mut response = http::Response::new("x".repeat(number(count) as usize));
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
            response.into_response()
        }
        ["status", code] => {
            let code: StatusCode = code.parse().expect("a status in the path");
            reply(code, json!({ "status": code.as_u16(), "message": "as asked for" }))
        }
        // A correct answer to HEAD: GET's `content-length`, and no body.
        ["declared", length] => {
            let mut response = http::Response::new(String::new());
            response.headers_mut().insert("content-length", length.parse().expect("a length in the path"));
            response.into_response()
        }
        ["echo"] => {
            let kind = request.headers().get("content-type").cloned();
            let mut response = http::Response::new(request.into_body());
            response
                .headers_mut()
                .insert("content-type", kind.unwrap_or_else(|| "application/octet-stream".parse().unwrap()));
            response.into_response()
        }
        ["length"] => match request.into_body().bytes().await {
            Ok(bytes) => reply(StatusCode::OK, json!(bytes.len())),
            Err(e) => reply(StatusCode::BAD_REQUEST, json!({ "failed": format!("{e:?}") })),
        },
        ["headers"] => reply(StatusCode::OK, headers(request.headers())),
        ["method"] => reply(StatusCode::OK, json!(request.method().as_str())),
        ["internal", name, rest @ ..] => internal(name, rest).await,
        _ => reply(StatusCode::NOT_FOUND, json!({ "status": 404, "message": "front does no such thing" })),
    }
}

/// Calls another component of the application by its internal name and forwards its answer.
async fn internal(name: &str, rest: &[&str]) -> Result<types::Response, types::ErrorCode> {
    match spin_sdk::http::get(format!("http://{name}.spin.internal/{}", rest.join("/"))).await {
        Ok(response) => response_of(response),
        Err(e) => reply(StatusCode::BAD_GATEWAY, json!({ "failed": format!("{e:?}") })),
    }
}

fn response_of(response: Response) -> Result<types::Response, types::ErrorCode> {
    let (parts, body) = response.into_parts();
    let mut answer = http::Response::new(body);
    *answer.status_mut() = parts.status;
    if let Some(kind) = parts.headers.get("content-type") {
        answer.headers_mut().insert("content-type", kind.clone());
    }
    answer.into_response()
}

/// A body of `chunks` lines, each its own chunk, 10 ms apart, without a content length.
fn stream(chunks: u32) -> Result<types::Response, types::ErrorCode> {
    let (mut sender, body) = body::stream::<String>();
    spin_sdk::wasip3::spawn(async move {
        for i in 0..chunks {
            if sender.send(format!("chunk {i}\n")).await.is_err() {
                break;
            }
            monotonic_clock::wait_for(10_000_000).await;
        }
    });
    let mut response = http::Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response.into_response()
}

/// An endless body, 64 KiB every millisecond.
fn flood() -> Result<types::Response, types::ErrorCode> {
    let (mut sender, body) = body::stream::<String>();
    spin_sdk::wasip3::spawn(async move {
        // The sender accepts data that nobody has read yet: without a pause it would fill the guest's memory.
        while sender.send("x".repeat(64 << 10)).await.is_ok() {
            monotonic_clock::wait_for(1_000_000).await;
        }
    });
    let mut response = http::Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response.into_response()
}

fn headers(headers: &HeaderMap) -> Value {
    let text = |v: &http::HeaderValue| json!(String::from_utf8_lossy(v.as_bytes()));
    Value::Object(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
}

fn reading(way: &str) -> deeds::Way {
    match way {
        "by" => deeds::Way::By,
        "peek" => deeds::Way::Peek,
        "cancel" => deeds::Way::Cancel,
        "next" => deeds::Way::Next,
        "collect" => deeds::Way::Collect,
        "early" => deeds::Way::Early,
        "again" => deeds::Way::Again,
        _ => panic!("no way of reading in the path"),
    }
}

/// Parses a number in the path; a bad number is a mistake in the scenario.
fn number(text: &str) -> u32 {
    text.parse().expect("a number in the path")
}

fn deed<T: Into<Value>>(outcome: std::result::Result<T, deeds::Error>) -> Result<types::Response, types::ErrorCode> {
    match outcome {
        Ok(value) => reply(StatusCode::OK, value.into()),
        Err(deeds::Error::Unavailable(m)) => reply(StatusCode::SERVICE_UNAVAILABLE, json!({ "unavailable": m })),
        Err(deeds::Error::Failed(m)) => reply(StatusCode::INTERNAL_SERVER_ERROR, json!({ "failed": m })),
    }
}

fn reply(status: StatusCode, value: Value) -> Result<types::Response, types::ErrorCode> {
    let mut response = http::Response::new(value.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response.into_response()
}
