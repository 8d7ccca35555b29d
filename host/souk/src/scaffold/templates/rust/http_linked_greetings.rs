//! Answers requests with what another component says, through the contract <<contract>>: `GET <<base>>/NAME`.

spin_sdk::dependencies!();

use <<path>>::{Error, greet};
use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    match greet(name) {
        Ok(greeting) => (StatusCode::OK, format!("{greeting}\n")),
        Err(Error::Invalid(reason)) => (StatusCode::BAD_REQUEST, format!("{reason}\n")),
        Err(Error::Unavailable(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
