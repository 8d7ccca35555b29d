//! `PUT /KEY` with a value keeps it, `GET /KEY` reads it.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::{Error, Store};

/// The label in `key_value_stores`.
const STORE: &str = "values";

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    answer(request).await.unwrap_or_else(|error| {
        eprintln!("the store does not answer: {error:?}");
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    })
}

async fn answer(request: Request) -> Result<(StatusCode, String), Error> {
    let store = Store::open(STORE).await?;
    let path = request.uri().path();
    let key = path.strip_prefix("/").unwrap_or(path).to_owned();
    if request.method() == Method::PUT {
        let Ok(value) = request.into_body().bytes().await else {
            return Ok((StatusCode::BAD_REQUEST, "the value did not come\n".to_owned()));
        };
        store.set(key, value).await?;
        return Ok((StatusCode::NO_CONTENT, String::new()));
    }
    Ok(match store.get(key).await? {
        Some(value) => (StatusCode::OK, String::from_utf8_lossy(&value).into_owned()),
        None => (StatusCode::NOT_FOUND, String::new()),
    })
}
