//! `PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it.

use souk_key_value::{Error, Store};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;

/// The label in `key_value_stores`.
const STORE: &str = "<<component>>";

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    answer(request).await.unwrap_or_else(|error| {
        eprintln!("the store does not answer: {error}");
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    })
}

async fn answer(request: Request) -> Result<(StatusCode, String), Error> {
    let path = request.uri().path();
    let key = path.strip_prefix("<<base>>/").unwrap_or(path).to_owned();
    if request.method() == Method::PUT {
        let Ok(value) = request.into_body().bytes().await else {
            return Ok((StatusCode::BAD_REQUEST, "the body broke off\n".to_owned()));
        };
        Store::open(STORE)?.set(&key, &value)?;
        return Ok((StatusCode::NO_CONTENT, String::new()));
    }
    Ok(match Store::open(STORE)?.get(&key)? {
        Some(value) => (StatusCode::OK, String::from_utf8_lossy(&value).into_owned()),
        None => (StatusCode::NOT_FOUND, String::new()),
    })
}
