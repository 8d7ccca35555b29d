//! `PUT <<base>>/KEY` keeps the request's body under a key, `GET <<base>>/KEY` reads it. Another component keeps it,
//! through the contract <<contract>>.

spin_sdk::dependencies!();

use <<path>>::{self as values, Error};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    answer(request).await.unwrap_or_else(|error| match error {
        Error::Invalid(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")),
        Error::Unavailable(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    })
}

async fn answer(request: Request) -> Result<(StatusCode, String), Error> {
    let path = request.uri().path();
    let key = path.strip_prefix("<<base>>/").unwrap_or(path).to_owned();
    if request.method() == Method::PUT {
        let Ok(value) = request.into_body().bytes().await else {
            return Ok((StatusCode::BAD_REQUEST, "the body broke off\n".to_owned()));
        };
        values::set(&key, &String::from_utf8_lossy(&value))?;
        return Ok((StatusCode::NO_CONTENT, String::new()));
    }
    Ok(match values::get(&key)? {
        Some(value) => (StatusCode::OK, value),
        None => (StatusCode::NOT_FOUND, String::new()),
    })
}
