//! The likes: `POST /api/likes/NUMBER` likes a product, `GET` says how many do. Only what the catalogue sells can be liked.

spin_sdk::wit_bindgen::generate!({
    path: "../wit",
    world: "likes",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use store::products::catalog::{Error, get};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let Some(Ok(number)) = request.uri().path().strip_prefix("/api/likes/").map(str::parse::<u64>) else {
        return (StatusCode::NOT_FOUND, "ask for /api/likes/NUMBER\n".to_owned());
    };
    let product = match get(number) {
        Ok(product) => product,
        Err(Error::NotFound) => return (StatusCode::NOT_FOUND, format!("there is no product {number}\n")),
        Err(Error::Unavailable(reason)) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        Err(error) => return (StatusCode::BAD_GATEWAY, format!("{error}\n")),
    };
    match likes(number, request.method() == Method::POST).await {
        Ok(likes) => (StatusCode::OK, format!("{}: {likes}\n", product.name)),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// How many like the product, with one more or without.
async fn likes(number: u64, more: bool) -> Result<u64, spin_sdk::key_value::Error> {
    let (store, key) = (Store::open_default().await?, number.to_string());
    let kept = store.get(&key).await?.unwrap_or_default();
    let mut likes = String::from_utf8(kept).ok().and_then(|kept| kept.parse().ok()).unwrap_or(0);
    if more {
        likes += 1;
        store.set(&key, likes.to_string()).await?;
    }
    Ok(likes)
}
