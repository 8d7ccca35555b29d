//! The public HTTP API of the store.
//!
//! It parses and validates requests, calls the services that it is linked to, and shapes their answers. It stores
//! nothing, and it decides nothing about products, prices or orders. Who may do what is in [`authorize`]. The routes,
//! bodies and messages are those of the NestJS system that the store replaces (Express and class-validator), so that
//! its clients work unchanged: `tests/golden.json` holds the recording, `tests/golden-differences.json` the intended
//! differences.
//!
//! It answers requests as plain values (`wit/http`); a request that does not fit into them comes through
//! `wasi:http/handler`. The component exports that interface itself: `#[http_service]` copies every header, the scheme
//! and the authority into an `http::Request` and the response out of one, which takes a dozen host calls for each
//! request, where these routes need four. Routing is a `match`: axum's router is case-sensitive and cannot give
//! Express's message for a bad parameter, and its layers would cost more than everything else here.

mod authorize;
mod bindings;
mod credentials;
mod guesses;
mod http;
mod money;
mod number;
mod routes;
mod validate;

use souk_web::{Request, plain};
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::types;

/// The component: it has no state.
struct Gateway;

impl handler::Guest for Gateway {
    async fn handle(request: types::Request) -> Result<types::Response, types::ErrorCode> {
        http::serve(Request::of_wasi(request), routes::dispatch).await.into_wasi()
    }
}

impl plain::Guest for Gateway {
    fn handle(request: plain::Request) -> plain::Response {
        plain::answer(http::serve(Request::of_plain(request), routes::dispatch))
    }
}
