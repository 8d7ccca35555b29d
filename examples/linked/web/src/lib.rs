//! Serves HTTP, and calls the other component through the contract: `/LANGUAGE/NAME`.

spin_sdk::wit_bindgen::generate!({
    inline: "package example:web; world component { import example:greetings/greetings@1.0.0; }",
    path: "../wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use example::greetings::greetings::{Error, greet};
use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let mut segments = request.uri().path().trim_matches('/').splitn(2, '/');
    let language = segments.next().unwrap_or_default();
    let name = segments.next().unwrap_or("stranger");
    match greet(name, language) {
        Ok(greeting) => (StatusCode::OK, format!("{greeting}\n")),
        Err(Error::UnknownLanguage(language)) => {
            (StatusCode::NOT_FOUND, format!("there is no greeting in {language:?}\n"))
        }
        Err(Error::Unavailable(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
