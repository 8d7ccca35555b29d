//! A test component whose HTTP handler is of WASI 0.3 and whose imports are `async func`: `/CALL/ARGUMENT...`.

use spin_sdk::http::{IntoResponse, Request, Result as Answer};
use spin_sdk::wasip3::http::types;
use spin_sdk::{http_service, wit_bindgen};

wit_bindgen::generate!({
    world: "souk-test:mixed/caller",
    path: "../wit/async",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use souk_test::mixed::{events, work};

include!("../../answer.rs");

#[http_service]
async fn handle(request: Request) -> Answer<types::Response, types::ErrorCode> {
    let path = request.headers().get("spin-path-info").and_then(|p| p.to_str().ok()).unwrap_or_default();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (status, value) = match segments.as_slice() {
        ["next", name] => worked(work::next(item(name)).await.map(shown)),
        ["next"] => worked(work::next(item("")).await.map(shown)),
        ["hold", ms] => worked(work::hold(number(ms)).await),
        ["compute", own, theirs] => {
            compute(number(own));
            worked(work::compute(number(theirs)).await)
        }
        ["linger", ms] => worked(work::linger(number(ms)).await),
        ["forever"] => worked(work::forever().await),
        ["boom"] => worked(work::boom().await),
        ["note", id] => stored(events::note((*id).to_owned()).await),
        _ => unknown(),
    };
    let mut response = http::Response::new(value.to_string());
    *response.status_mut() = status.try_into().expect("a status");
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response.into_response()
}
