//! A test component that answers requests through both interfaces, as the store's own components do: `/plain/hello`
//! without a link, and `/plain/answer/N` with a call of the linked component.

use souk_web::{Request, Response};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types;
use spin_sdk::wit_bindgen;

wit_bindgen::generate!({
    inline: "package souk-test:plain; world component { import souk-test:rogue/deeds@1.0.0; }",
    path: ["../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    world: "souk-test:plain/component",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use souk_test::rogue::deeds;

struct Plain;

fn answer(request: &Request) -> Response {
    let (status, body) = match request.target.trim_start_matches("/plain/").split_once('/') {
        None => (200, "\"hello\"".to_owned()),
        Some((_, n)) => match n.parse().map(deeds::answer) {
            Ok(Ok(n)) => (200, n.to_string()),
            Ok(Err(error)) => (503, error.to_string()),
            Err(_) => (400, "\"no number\"".to_owned()),
        },
    };
    Response::new(status, vec![("content-type".to_owned(), b"application/json".to_vec())], Some(body.into_bytes()))
}

impl handler::Guest for Plain {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        answer(&Request::of_wasi(request)).into_wasi()
    }
}

impl souk_web::plain::Guest for Plain {
    fn handle(request: souk_web::plain::Request) -> souk_web::plain::Response {
        answer(&Request::of_plain(request)).into_plain()
    }
}

souk_web::plain::export!(Plain with_types_in souk_web::plain::bindings);
spin_sdk::wasip3::http::service::export!(Plain with_types_in spin_sdk::wasip3);
