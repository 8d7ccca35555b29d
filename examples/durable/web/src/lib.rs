//! `PUT /ID` with a text hands a note over; `GET /ID` reads it once it was delivered.

spin_sdk::wit_bindgen::generate!({
    inline: "package example:web; world component {
        import example:notes/inbox@1.0.0;
        import example:notes/notes@1.0.0;
    }",
    path: "../wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use example::notes::inbox::{DeliveryError, keep};
use example::notes::notes::{Error, read};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let id = request.uri().path().trim_matches('/').to_owned();
    if request.method() == Method::PUT {
        let Ok(text) = request.into_body().bytes().await else {
            return (StatusCode::BAD_REQUEST, "the text did not come\n".to_owned());
        };
        return match keep(id, String::from_utf8_lossy(&text).into_owned()).await {
            Ok(()) => (StatusCode::ACCEPTED, "stored, and delivered soon\n".to_owned()),
            Err(DeliveryError::Retry(reason) | DeliveryError::Reject(reason)) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
            }
        };
    }
    match read(id).await {
        Ok(Some(text)) => (StatusCode::OK, format!("{text}\n")),
        Ok(None) => (StatusCode::NOT_FOUND, "there is no such note yet\n".to_owned()),
        Err(Error::Unavailable(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
