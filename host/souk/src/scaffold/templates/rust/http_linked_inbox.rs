//! `PUT <<base>>/ID` hands the request's body over by the durable link <<contract>>.
//! `GET <<base>>/ID` reads it once it was delivered.

spin_sdk::dependencies!();

use <<package_path>>::kept::{Error, read};
use <<path>>::{DeliveryError, deliver};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let path = request.uri().path();
    let id = path.strip_prefix("<<base>>/").unwrap_or(path).to_owned();
    if request.method() == Method::PUT {
        let Ok(text) = request.into_body().bytes().await else {
            return (StatusCode::BAD_REQUEST, "the body broke off\n".to_owned());
        };
        // `Ok` says that the message is on disk. It is delivered until the other component has it.
        return match deliver(&id, &String::from_utf8_lossy(&text)) {
            Ok(()) => (StatusCode::ACCEPTED, "stored, and delivered soon\n".to_owned()),
            Err(DeliveryError::Retry(reason) | DeliveryError::Reject(reason)) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
            }
        };
    }
    match read(&id) {
        Ok(Some(text)) => (StatusCode::OK, format!("{text}\n")),
        Ok(None) => (StatusCode::NOT_FOUND, "there is no such message yet\n".to_owned()),
        Err(Error::Unavailable(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
